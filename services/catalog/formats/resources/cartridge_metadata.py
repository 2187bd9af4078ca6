"""What a manifest says about a resource: IEEE LOM, and 1EdTech's curriculum standards metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from services.catalog.formats.resources.contents import Alignment, Relation

# Purposes of a classification that name a skill, and those that name a level.
_SKILL_PURPOSES = {"educational objective", "competency", "skill level"}
_LEVEL_PURPOSES = {"educational level"}


@dataclass(frozen=True, slots=True)
class Lom:
    """What the catalog takes of LOM.

    Attributes:
        title: general.title.
        description: general.description.
        language: general.language, or that of educational.
        keywords: general.keyword.
        publisher: the organization of a contribute of the role publisher.
        rights: rights.description.
        types: educational.learningResourceType.
        roles: educational.intendedEndUserRole, in lower case.
        lengths: educational.typicalLearningTime.
        levels: of classifications by educational level.
        standards: of classifications by objective or competency.
    """

    title: str = ""
    description: str = ""
    language: str = ""
    keywords: tuple[str, ...] = ()
    publisher: str = ""
    rights: str = ""
    types: tuple[str, ...] = ()
    roles: frozenset[str] = frozenset()
    lengths: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    standards: tuple[Alignment, ...] = ()


def text_of(element: Element | None) -> str:
    """The text of an element, on one line; of several languages the first."""
    if element is None:
        return ""
    for inner in ("string", "langstring", "value", "duration", "datetime"):
        if (found := element.find(inner)) is not None:
            return text_of(found)
    return " ".join("".join(element.itertext()).split())


def lom_of(metadata: Element | None) -> Lom:
    """The LOM of a metadata element."""
    lom = metadata.find("lom") if metadata is not None else None
    if lom is None:
        return Lom()
    levels, standards = _classified(lom)
    return Lom(
        title=text_of(lom.find("general/title")),
        description=text_of(lom.find("general/description")),
        language=text_of(lom.find("general/language")) or text_of(lom.find("educational/language")),
        keywords=_texts(lom, "general/keyword"),
        publisher=_publisher(lom),
        rights=text_of(lom.find("rights/description")),
        types=_texts(lom, "educational/learningResourceType"),
        roles=frozenset(each.lower() for each in _texts(lom, "educational/intendedEndUserRole")),
        lengths=_texts(lom, "educational/typicalLearningTime"),
        levels=levels,
        standards=standards,
    )


def standards_of(resource: Element) -> dict[str, tuple[Alignment, ...]]:
    """The standards of a resource, by the id of the part that they are of; empty: the resource as a whole."""
    found: dict[str, dict[Alignment, None]] = {}
    for metadata in resource.findall("metadata"):
        for group in metadata.iter("curriculumStandardsMetadataSet"):
            part = (group.get("resourcePartId") or "").strip()
            for each in group.iter("labelledGUID"):
                names = tuple(filter(None, (text_of(each.find("GUID")), text_of(each.find("caseItemURI")))))
                if label := text_of(each.find("label")):
                    found.setdefault(part, {})[Alignment(Relation.TEACHES, names, label)] = None
                elif names:
                    found.setdefault(part, {})[Alignment(Relation.TEACHES, names)] = None
    return {part: tuple(standards) for part, standards in found.items()}


def _classified(lom: Element) -> tuple[tuple[str, ...], tuple[Alignment, ...]]:
    levels, standards = [], []
    for each in lom.findall("classification"):
        purpose = text_of(each.find("purpose")).lower()
        for path in each.findall("taxonPath"):
            taxons = list(path.iter("taxon"))
            if not taxons:
                continue
            # A path goes from the whole framework to the one that is meant.
            identifier, entry = text_of(taxons[-1].find("id")), text_of(taxons[-1].find("entry"))
            if purpose in _LEVEL_PURPOSES:
                levels.append(entry or identifier)
            elif purpose in _SKILL_PURPOSES and (identifier or entry):
                names = tuple(filter(None, (identifier,)))
                standards.append(Alignment(Relation.TEACHES, names, entry or identifier, text_of(path.find("source"))))
    return tuple(filter(None, levels)), tuple(dict.fromkeys(standards))


def _publisher(lom: Element) -> str:
    for each in lom.findall("lifeCycle/contribute"):
        if text_of(each.find("role")).lower() == "publisher":
            entity = each.find("entity")
            return _organization("".join(entity.itertext())) if entity is not None else ""
    return ""


def _organization(card: str) -> str:
    """What a vCard is of; a name that is no vCard is itself."""
    lines = dict(_card_lines(card))
    return lines.get("ORG") or lines.get("FN") or ("" if "BEGIN:VCARD" in card.upper() else " ".join(card.split()))


def _card_lines(card: str) -> Iterator[tuple[str, str]]:
    for line in card.splitlines():
        name, _, value = line.strip().partition(":")
        yield name.partition(";")[0].upper(), value.strip()


def _texts(lom: Element, path: str) -> tuple[str, ...]:
    return tuple(filter(None, map(text_of, lom.findall(path))))
