"""What a file of a framework holds: its skills, how they are linked, and what is left out of them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from services.catalog.domain.model import Skill
from services.catalog.domain.prerequisites import cycles
from services.catalog.domain.validation.fields import GRADES, ID_CHARACTERS_MAX, NAME_CHARACTERS_MAX, Problem
from services.catalog.domain.validation.fields import TEXT_CHARACTERS_MAX as STATEMENT_CHARACTERS_MAX
from services.catalog.domain.validation.skills import EQUIVALENTS_MAX, PREREQUISITES_MAX
from services.common.auth.identity import normalised_id

_GUID = re.compile(
    r"(?:urn:(?:guid|uuid):)?([0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12})", re.IGNORECASE
)
_CONTROL_BUT_BREAKS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# More of a cycle says no more about it.
_CYCLE_SHOWN_MAX = 12
_CUT = {
    "precedes": "{other} before {item}, in {path} (each needs the next)",
    "isChildOf": "{item} in {other}, in {path} (each is a child of the next)",
}
# Codes of CEDS and ASN that are no number, and what Cairn calls them.
_GRADE_OF_CODE = {"KG": "K", "K": "K", "PK": "PK", "PR": "PK", "TK": "PK"}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that was knowingly not taken.

    Attributes:
        reason: why, in words that many of a kind share.
        what: which one.
    """

    reason: str
    what: str


@dataclass
class FrameworkContents:
    """What a file becomes.

    Attributes:
        titles: of the frameworks in it.
        skills: in the order of the file.
        item_types: the type that the file states of a skill, by id.
        links: how many links between skills were taken.
        left_out: what was not taken.
        problems: what is wrong with the file; with any, nothing may be imported.
    """

    titles: list[str] = field(default_factory=list)
    skills: list[Skill] = field(default_factory=list)
    item_types: dict[str, str] = field(default_factory=dict)
    links: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Item:
    """An item as a file states it.

    Attributes:
        id: its id.
        framework: the title of its framework.
        code: its code; may be empty.
        statement: its statement.
        levels: its education levels, as the file writes them.
        type: what kind of item it is; may be empty.
        names: other names it has.
        parent: its parent, unless a link says it.
        importance: its importance, if the file states it.
    """

    id: str
    framework: str
    code: str
    statement: str
    levels: tuple[str, ...] = ()
    type: str = ""
    names: tuple[str, ...] = ()
    parent: str = ""
    importance: float | None = None


class FrameworkBuilder:
    """Collects items, then links between them, and makes skills of them."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._documents: set[str] = set()
        self._parents: dict[str, dict[str, None]] = {}
        self._needs: dict[str, dict[str, None]] = {}
        self._names: dict[str, dict[str, None]] = {}
        self.contents = FrameworkContents()

    def add_document(self, identifier: str, title: str) -> None:
        """Add a framework."""
        self._documents.add(identifier)
        self.contents.titles.append(title)

    def add(self, item: Item) -> None:
        """Add an item; of those with one id the first counts."""
        if item.id in self._items:
            self.leave_out("an item whose identifier another item has", item.id)
        else:
            self._items[item.id] = item
            self._names[item.id] = dict.fromkeys(item.names)

    def leave_out(self, reason: str, what: str) -> None:
        """Note what is not taken."""
        self.contents.left_out.append(LeftOut(reason, what))

    def reject(self, path: str, reason: str) -> None:
        """Note a problem."""
        self.contents.problems.append(Problem(path, reason))

    def is_child(self, child: str, parent: str) -> None:
        """The first is a part of the second, which may be the framework itself."""
        if child not in self._items:
            self.leave_out("isChildOf of an item that the file does not have", child)
        elif parent not in self._items and parent not in self._documents:
            self.leave_out("isChildOf an item that the file does not have", f"{child} -> {parent}")
        elif parent in self._parents.get(child, ()):
            self.leave_out("isChildOf that is said again; it counts once", f"{child} -> {parent}")
        elif child in self._parents:
            self.leave_out("a second parent; the first one counts", f"{child} -> {parent}")
        else:
            self._parents[child] = {parent: None}
            self.contents.links += 1

    def precedes(self, first: str, then: str) -> None:
        """The first comes before the second."""
        if first not in self._items or then not in self._items:
            what = f"{self._called(first)} -> {self._called(then)}"
            self.leave_out("precedes from or to an item that the file does not have", what)
        elif first == then:
            self.leave_out("an item that precedes itself", first)
        elif first in self._needs.get(then, ()):
            what = f"{self._called(first)} -> {self._called(then)}"
            self.leave_out("precedes that is said again; it counts once", what)
        else:
            self._needs.setdefault(then, {})[first] = None
            self.contents.links += 1

    def is_match(self, one: Sequence[str], other: Sequence[str]) -> None:
        """Two nodes, each with all of its names, are the same."""
        for here, there in ((one, other), (other, one)):
            if here[0] in self._items:
                usable = [name for name in there if name != here[0] and len(name) <= ID_CHARACTERS_MAX]
                if not usable:
                    self.leave_out("an exact match with itself, or whose name is too long", here[0])
                elif self._names[here[0]].keys() >= {*usable}:
                    self.leave_out("exactMatchOf that is said again; it counts once", f"{here[0]} -> {there[0]}")
                else:
                    self._names[here[0]].update(dict.fromkeys(usable))
                    self.contents.links += 1
                return
        self.leave_out("exactMatchOf between items that the file does not have", one[0])

    def build(self) -> FrameworkContents:
        """The skills of all items."""
        self._cut_cycles("precedes", self._needs)
        self._cut_cycles("isChildOf", self._parents)
        for item in self._items.values():
            self.contents.item_types[item.id] = item.type
            parent = next(iter(self._parents.get(item.id, ())), "")
            self.contents.skills.append(
                Skill(
                    id=item.id,
                    framework=item.framework[:NAME_CHARACTERS_MAX],
                    code=self._code(item),
                    statement=self._statement(item),
                    prerequisites=self._limited(item, "prerequisites", self._needs.get(item.id, ()), PREREQUISITES_MAX),
                    grades=self._grades(item),
                    equivalents=self._limited(item, "exact matches", self._names[item.id], EQUIVALENTS_MAX),
                    importance=item.importance,
                    parent=item.parent if parent in self._documents else parent or item.parent,
                )
            )
        return self.contents

    def _cut_cycles(self, kind: str, links: dict[str, dict[str, None]]) -> None:
        # Cutting another edge than the one that closes a cycle may leave others, so search until there is none.
        while found := cycles({item: tuple(others) for item, others in links.items()}):
            for cycle in found:
                edges = list(pairwise(cycle))
                if all(other in links[item] for item, other in edges):
                    # The least plausible: what is taught last is required for what is taught first, or contains it.
                    item, other = max(reversed(edges), key=lambda edge: self._level(edge[1]) - self._level(edge[0]))
                    del links[item][other]
                    self.contents.links -= 1
                    shown = [self._called(each) for each in cycle]
                    if len(shown) > _CYCLE_SHOWN_MAX:
                        shown = [*shown[: _CYCLE_SHOWN_MAX - 1], "...", shown[-1]]
                    path = " -> ".join(shown)
                    what = _CUT[kind].format(item=self._called(item), other=self._called(other), path=path)
                    self.leave_out(f"{kind} that closes a cycle", what)

    def _called(self, identifier: str) -> str:
        item = self._items.get(identifier)
        return item.code if item and item.code else identifier

    def _level(self, identifier: str) -> int:
        return min((GRADES.index(grade) for grade in grades_of(self._items[identifier].levels)[0]), default=0)

    def _code(self, item: Item) -> str:
        if len(item.code) > NAME_CHARACTERS_MAX:
            self.leave_out(f"a code of more than {NAME_CHARACTERS_MAX} characters", item.id)
            return ""
        return item.code

    def _statement(self, item: Item) -> str:
        if len(item.statement) > STATEMENT_CHARACTERS_MAX:
            self.leave_out(f"the end of a statement of more than {STATEMENT_CHARACTERS_MAX:,} characters", item.id)
        return item.statement[:STATEMENT_CHARACTERS_MAX]

    def _grades(self, item: Item) -> tuple[str, ...]:
        grades, unknown = grades_of(item.levels)
        for level in unknown:
            self.leave_out("an education level that is no grade from PK to 12", f"{level!r} of {item.id}")
        return grades

    def _limited(self, item: Item, what: str, values: Iterable[str], most: int) -> tuple[str, ...]:
        kept = tuple(values)
        if len(kept) > most:
            self.leave_out(f"{what} beyond the first {most}", item.id)
        return kept[:most]


def name_of(text: str) -> str:
    """The one way to write a name: GUIDs in lower case with dashes, also where they are the end of a URI or URN."""
    text = normalised_id(text.strip())
    last = text.rstrip("/").rpartition("/")[2] if text.startswith(("http://", "https://")) else text
    found = _GUID.fullmatch(last)
    return str(uuid.UUID(found[1])) if found else text


def clean(text: str) -> str:
    """A text without white space around it and without control characters, but for tabs and line feeds."""
    return _CONTROL_BUT_BREAKS.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def grades_of(levels: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The grades of education levels, in order; and those levels that are none.

    Args:
        levels: codes of CEDS (`KG`, `03`) or ASN (`K`, `3`).
    """
    grades, unknown = set(), []
    for level in levels:
        code = level.strip().upper()
        grade = _GRADE_OF_CODE.get(code) or code.lstrip("0")
        if grade in GRADES:
            grades.add(grade)
        else:
            unknown.append(level)
    return tuple(sorted(grades, key=GRADES.index)), tuple(unknown)


def only_types(contents: FrameworkContents, types: Sequence[str]) -> FrameworkContents:
    """Only the items of some types. Links to others end, but for those to a parent."""
    kept = {skill.id for skill in contents.skills if contents.item_types[skill.id] in types}
    left_out = list(contents.left_out)
    skills = []
    for skill in contents.skills:
        if skill.id not in kept:
            left_out.append(LeftOut(f"an item of the type {contents.item_types[skill.id]!r}", skill.id))
            continue
        needed = tuple(each for each in skill.prerequisites if each in kept)
        lost = len(skill.prerequisites) - len(needed)
        left_out += [LeftOut("a prerequisite of a type that is left out", skill.id)] * lost
        skills.append(replace(skill, prerequisites=needed))
    return replace(contents, skills=skills, left_out=left_out)


def with_codes_as_ids(contents: FrameworkContents) -> FrameworkContents:
    """Skills whose ids are their codes. A code that is missing, or that two items have, leaves the identifier.

    The identifier becomes another name of the skill, so that links to it still find it.
    """
    skills_of: dict[str, int] = {}
    for skill in contents.skills:
        skills_of[skill.code] = skills_of.get(skill.code, 0) + 1
    taken = {skill.id for skill in contents.skills}
    new_id = {
        skill.id: skill.code
        for skill in contents.skills
        if skill.code
        and skills_of[skill.code] == 1
        and normalised_id(skill.code) == skill.code
        and skill.code not in taken
    }
    left_out = [
        LeftOut("a code as id, because it is missing or not the only one; the identifier is the id", skill.id)
        for skill in contents.skills
        if skill.id not in new_id and skill.id != skill.code
    ]
    return replace(
        contents,
        skills=[_renamed(skill, new_id) for skill in contents.skills],
        item_types={new_id.get(each, each): kind for each, kind in contents.item_types.items()},
        left_out=[*contents.left_out, *left_out],
    )


def _renamed(skill: Skill, new_id: dict[str, str]) -> Skill:
    code = new_id.get(skill.id)
    names = dict.fromkeys((skill.id, *skill.equivalents)) if code else dict.fromkeys(skill.equivalents)
    return replace(
        skill,
        id=code or skill.id,
        prerequisites=tuple(new_id.get(each, each) for each in skill.prerequisites),
        equivalents=tuple(name for name in names if name != code)[:EQUIVALENTS_MAX],
        parent=new_id.get(skill.parent, skill.parent),
    )
