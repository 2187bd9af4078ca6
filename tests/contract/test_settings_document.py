"""The table in docs/settings.md lists the settings that the processes read."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic_settings import BaseSettings

from services.catalog.settings import CatalogSettings
from services.ingest.settings import IngestSettings, OpenEdxSettings
from services.recommender.settings import LagSettings, RecommenderServerSettings, WorkerSettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"
PROCESSES: dict[str, type[BaseSettings]] = {
    "ingest": IngestSettings,
    "openedx": OpenEdxSettings,
    "catalog": CatalogSettings,
    "worker": WorkerSettings,
    "server": RecommenderServerSettings,
    "lag": LagSettings,
}


def table() -> str:
    """One row per setting: its variable, default, meaning, and the processes that read it."""
    readers: dict[str, list[str]] = {}
    rows: dict[str, tuple[str, str]] = {}
    for process, settings in PROCESSES.items():
        for name, field in settings.model_fields.items():
            variable = f"CAIRN_{name.upper()}"
            readers.setdefault(variable, []).append(process)
            default = "" if field.default is None else str(field.default)
            rows[variable] = (f"`{default}`" if default else "", field.description or "")
    lines = ["| variable | default | meaning | read by |", "|---|---|---|---|"]
    for variable, (default, meaning) in rows.items():
        everyone = len(readers[variable]) == len(PROCESSES)
        lines.append(
            f"| `{variable}` | {default} | {meaning} | {'all' if everyone else ', '.join(readers[variable])} |"
        )
    return "\n".join(lines)


def test_the_settings_table_matches_the_code():
    shown = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", DOCUMENT.read_text(), flags=re.DOTALL)
    assert shown is not None
    assert shown[1] == table(), "paste this into docs/settings.md:\n" + table()


def test_every_setting_has_a_description():
    for settings in PROCESSES.values():
        for name, field in settings.model_fields.items():
            assert field.description, name
