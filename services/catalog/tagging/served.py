"""Taggers as the service uses them: one folder for each tenant, reloaded when it changes."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import structlog

from services.catalog.application.taggers import SuggestedSkill
from services.catalog.domain.model import Resource
from services.catalog.tagging.examples import Example, example_of
from services.catalog.tagging.manifest import MANIFEST, TaggerUnusableError, tagger_name

if TYPE_CHECKING:
    from services.catalog.tagging.tagger import SkillTagger, Suggestion

_log = structlog.get_logger(__name__)

TRAFFIC = "traffic.csv"
TRAFFIC_COLUMNS = ("resource_id", "responses")

_NO_TRAFFIC: Mapping[str, int] = MappingProxyType({})
_Version = tuple[int, int, int]


class TrafficUnusableError(ValueError):
    """A traffic table cannot be read; the message names the line and the remedy."""


class ServedTagger:
    """A fitted tagger, with its name."""

    def __init__(self, name: str, tagger: SkillTagger) -> None:
        self._name = name
        self._tagger = tagger

    @property
    def name(self) -> str:
        """See Tagger."""
        return self._name

    def suggest_for(self, resources: Sequence[Resource], limit: int) -> list[list[SuggestedSkill]]:
        """See Tagger."""
        return self._suggest([example_of(resource) for resource in resources], limit)

    def suggest(self, texts: Sequence[str], limit: int) -> list[list[SuggestedSkill]]:
        """See Tagger."""
        return self._suggest([Example("", text) for text in texts], limit)

    def _suggest(self, resources: Sequence[Example], limit: int) -> list[list[SuggestedSkill]]:
        return [list(map(self._with_examples, found)) for found in self._tagger.suggest(resources, limit)]

    def _with_examples(self, one: Suggestion) -> SuggestedSkill:
        return SuggestedSkill(one.skill, one.confidence, self._tagger.card.examples_per_skill.get(one.skill, 0))


class TaggerFolders:
    """Each tenant's tagger and traffic table, in `<folder>/<tenant>`; implements the port `Taggers`.

    `refresh` loads what has changed, by the files' modification times. An unreadable tagger is logged once, and the
    previous one stays.
    """

    def __init__(self, folder: Path | None) -> None:
        """Args: the folder; None: no tenant has a tagger."""
        self._folder = folder
        self._taggers: dict[str, tuple[_Version | None, ServedTagger | None]] = {}
        self._traffic: dict[str, tuple[_Version | None, Mapping[str, int]]] = {}

    def refresh(self) -> None:
        """Load taggers and traffic tables that have changed; slow when there are any."""
        if self._folder is None or not self._folder.is_dir():
            return
        for folder in sorted(path for path in self._folder.iterdir() if path.is_dir()):
            self._refresh_tagger(folder.name, folder)
            self._refresh_traffic(folder.name, folder / TRAFFIC)

    def of(self, tenant: str) -> ServedTagger | None:
        """See Taggers."""
        return self._taggers.get(tenant, (None, None))[1]

    def missing(self, tenant: str) -> str:
        """See Taggers."""
        if self._folder is None:
            return "this service has no taggers: set CAIRN_CATALOG_TAGGERS to a folder of them and restart it"
        return (
            f"tenant {tenant!r} has no tagger yet: fit one with cairn catalog tag --model DIR, where DIR is the folder "
            f"{tenant} inside CAIRN_CATALOG_TAGGERS; the service loads it within seconds"
        )

    def traffic(self, tenant: str) -> Mapping[str, int]:
        """See Taggers."""
        return self._traffic.get(tenant, (None, _NO_TRAFFIC))[1]

    def _refresh_tagger(self, tenant: str, folder: Path) -> None:
        version = _version_of(folder / MANIFEST)
        seen, tagger = self._taggers.get(tenant, (None, None))
        # While a tagger is replaced, its manifest is missing for a moment.
        if version is not None and version != seen:
            self._taggers[tenant] = (version, self._loaded(tenant, folder) or tagger)

    def _refresh_traffic(self, tenant: str, path: Path) -> None:
        version = _version_of(path)
        seen, traffic = self._traffic.get(tenant, (None, _NO_TRAFFIC))
        if version == seen:
            return
        try:
            traffic = _NO_TRAFFIC if version is None else read_traffic(path)
        except (TrafficUnusableError, OSError) as error:
            _log.error("traffic ignored", tenant=tenant, reason=str(error))
        self._traffic[tenant] = (version, traffic)

    @staticmethod
    def _loaded(tenant: str, folder: Path) -> ServedTagger | None:
        from services.catalog.tagging.store import load_tagger  # noqa: PLC0415 - scikit-learn is slow to import.

        try:
            tagger = ServedTagger(tagger_name(folder), load_tagger(folder))
        except TaggerUnusableError as error:
            _log.error("tagger ignored", tenant=tenant, reason=str(error))
            return None
        _log.info("tagger loaded", tenant=tenant, tagger=tagger.name)
        return tagger


def read_traffic(path: Path) -> Mapping[str, int]:
    """Responses by resource, from a CSV file with the columns `resource_id` and `responses`.

    Raises:
        TrafficUnusableError: when it is not such a file.
        OSError: when it cannot be read.
    """
    traffic: dict[str, int] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not set(TRAFFIC_COLUMNS) <= set(rows.fieldnames or ()):
            raise TrafficUnusableError(
                f"{path} has the columns {', '.join(rows.fieldnames or ()) or 'none'}; it needs "
                f"{' and '.join(TRAFFIC_COLUMNS)}"
            )
        for row in rows:
            given = row["responses"] or ""
            if not given.strip().isdecimal():
                reason = f"responses is {given[:40]!r}, not a number of responses; write for example 12"
                raise TrafficUnusableError(f"{path}:{rows.line_num}: {reason}")
            traffic[row["resource_id"]] = traffic.get(row["resource_id"], 0) + int(given)
    return MappingProxyType(traffic)


def write_traffic(path: Path, traffic: Mapping[str, int]) -> None:
    """Write what `read_traffic` reads, atomically.

    Raises:
        OSError: when it cannot be written.
    """
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(TRAFFIC_COLUMNS)
        rows.writerows(sorted(traffic.items()))
    temporary.replace(path)


def _version_of(path: Path) -> _Version | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
