"""Skills as packages of CASE 1.1, which `read_case` reads as the same skills."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from services.catalog.domain.model import Skill
from services.catalog.formats.frameworks.case_extension import NAME, extension_of, guid_of

_LEVEL_OF_GRADE = {"K": "KG", "PK": "PK"}


def case_packages(skills: Sequence[Skill], base_uri: str, written_at: datetime) -> list[dict[str, Any]]:
    """One package for each framework of some skills.

    Args:
        skills: the skills.
        base_uri: what URIs begin with.
        written_at: the time of the last change that the packages state.
    """
    frameworks: dict[str, list[Skill]] = {}
    for skill in skills:
        frameworks.setdefault(skill.framework, []).append(skill)
    moment = written_at.replace(microsecond=0).isoformat()
    return [_Package(title or "Skills", base_uri, moment).of(members) for title, members in sorted(frameworks.items())]


class _Package:
    """A package while it is made."""

    def __init__(self, title: str, base_uri: str, moment: str) -> None:
        self._title = title
        self._base_uri = base_uri
        self._moment = moment
        self._document = guid_of(f"framework {title}")

    def of(self, skills: Sequence[Skill]) -> dict[str, Any]:
        """The package of some skills."""
        here = {skill.id for skill in skills}
        return {
            "CFDocument": {
                **self._record(self._document, "CFDocuments"),
                "creator": "Cairn",
                "title": self._title,
                "caseVersion": "1.1",
            },
            "CFItems": [self._item(skill, here) for skill in skills],
            "CFAssociations": [association for skill in skills for association in self._associations(skill, here)],
        }

    def _item(self, skill: Skill, here: set[str]) -> dict[str, Any]:
        extension = extension_of(skill, has_parent=skill.parent in here)
        item = {
            **self._record(guid_of(skill.id), "CFItems"),
            "fullStatement": skill.statement or skill.code or skill.id,
            "humanCodingScheme": skill.code or (skill.id if guid_of(skill.id) != skill.id else ""),
            "educationLevel": [_LEVEL_OF_GRADE.get(grade, grade.zfill(2)) for grade in skill.grades],
            "extensions": {NAME: extension} if extension else {},
        }
        return {name: value for name, value in item.items() if value}

    def _associations(self, skill: Skill, here: set[str]) -> Iterator[dict[str, Any]]:
        parent = (guid_of(skill.parent), "CFItems") if skill.parent in here else (self._document, "CFDocuments")
        yield self._association("isChildOf", guid_of(skill.id), *parent)
        for needed in skill.prerequisites:
            yield self._association("precedes", guid_of(needed), guid_of(skill.id))
        for name in skill.equivalents:
            match = self._association("exactMatchOf", guid_of(skill.id), name)
            if ":" in name:
                match["destinationNodeURI"]["uri"] = name
            yield match

    def _association(self, kind: str, origin: str, destination: str, of: str = "CFItems") -> dict[str, Any]:
        return {
            **self._record(guid_of(f"{kind} {origin} {destination}"), "CFAssociations"),
            "associationType": kind,
            "originNodeURI": self._node(origin, origin, "CFItems"),
            "destinationNodeURI": self._node(destination, destination, of),
        }

    def _record(self, identifier: str, of: str) -> dict[str, str]:
        return {
            "identifier": identifier,
            "uri": f"{self._base_uri}{of}/{identifier}",
            "lastChangeDateTime": self._moment,
        }

    def _node(self, identifier: str, title: str, of: str) -> dict[str, str]:
        return {"title": title, "identifier": identifier, "uri": f"{self._base_uri}{of}/{identifier}"}
