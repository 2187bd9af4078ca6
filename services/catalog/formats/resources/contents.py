"""What a file of resources holds, and how the values of foreign formats become those of a resource."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from services.catalog.domain.model import Resource
from services.catalog.domain.validation.fields import (
    GRADES,
    NAME_CHARACTERS_MAX,
    TEXT_CHARACTERS_MAX,
    Problem,
    url_problems,
)
from services.catalog.domain.validation.resources import MINUTES_MAX, TITLE_CHARACTERS_MAX, TOPICS_MAX
from services.catalog.formats.frameworks.contents import LeftOut, clean
from services.common.resource_kinds import ResourceKindName

_SECONDS_PER_MINUTE = 60
_TOPIC_CHARACTERS_MAX = 64
_GRADE = r"(?:pre-?k|pk|kindergarten|kg|k|1[0-2]|0?[1-9])"
_GRADES = re.compile(
    rf"(?:u\.?s\.? )?(?:grades? )?({_GRADE})(?:st|nd|rd|th)?(?: ?(?:-|\u2013|to|through) ?({_GRADE})(?:st|nd|rd|th)?)?"
    r"(?: grades?)?",
    re.IGNORECASE,
)
_ISO_DURATION = re.compile(
    r"P(?:(\d+(?:\.\d+)?)W)?(?:(\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?)?"
)
_ISO_MINUTES = (7 * 24 * 60, 24 * 60, 60, 1, 1 / 60)
_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})")
_WORDED = re.compile(r"(\d+(?:\.\d+)?)\s*(hours?|hrs?|h|minutes?|mins?|min|m|seconds?|secs?|s)\b\.?", re.IGNORECASE)
# Longer texts are prose, and searching in them takes the square of their length.
_LENGTH_CHARACTERS_MAX = 200
_MINUTES_OF_UNIT = {"h": 60, "m": 1, "s": 1 / 60}
_LANGUAGES = {
    "arabic": "ar", "chinese": "zh", "dutch": "nl", "english": "en", "french": "fr", "german": "de", "hindi": "hi",
    "italian": "it", "japanese": "ja", "korean": "ko", "portuguese": "pt", "russian": "ru", "spanish": "es",
    "ukrainian": "uk", "vietnamese": "vi",
}  # fmt: skip
# The first kind that has a word in a text counts.
_WORDS_OF_KIND = {
    ResourceKindName.GAME: {"game"},
    ResourceKindName.VIDEO: {"video", "movie", "film"},
    ResourceKindName.ASSESSMENT: {"assessment", "quiz", "quizze", "test", "exam", "examination", "questionnaire"},
    ResourceKindName.PRACTICE: {"exercise", "practice", "worksheet", "drill", "assignment", "homework", "problem"},
    ResourceKindName.LESSON: {"lesson", "lecture", "tutorial", "reading", "course", "module", "book", "presentation"},
    ResourceKindName.ACTIVITY: {"activity", "activitie", "project", "experiment", "lab"},
}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


class Relation(StrEnum):
    """What a resource does with a skill."""

    TEACHES = "teaches"
    ASSESSES = "assesses"


@dataclass(frozen=True, slots=True)
class Alignment:
    """A skill as a file names it.

    Attributes:
        relation: what the resource does with it.
        names: what identifies it: ids, GUIDs, URIs.
        code: its code in its framework; may be empty.
        framework: the name of its framework; may be empty.
    """

    relation: Relation
    names: tuple[str, ...] = ()
    code: str = ""
    framework: str = ""

    def __str__(self) -> str:
        return " ".join(dict.fromkeys(filter(None, (self.code, *self.names[:1]))))


@dataclass(frozen=True, slots=True)
class FoundResource:
    """A resource of a file.

    Attributes:
        resource: the resource without its tags.
        place: where in the file it is.
        alignments: the skills that it teaches or assesses.
    """

    resource: Resource
    place: str
    alignments: tuple[Alignment, ...] = ()


@dataclass
class ResourceContents:
    """What a file of resources becomes.

    Attributes:
        resources: in the order of the file.
        left_out: things that are no resources, or not for learners.
        values_left_out: values of resources that have no place in the catalog.
        problems: what is wrong with the file.
        scope: what the ids of all its resources begin with; empty: nothing.
    """

    resources: list[FoundResource] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    values_left_out: list[LeftOut] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    scope: str = ""
    _first: dict[str, tuple[str, FoundResource]] = field(default_factory=dict)

    def add(self, found: FoundResource, id_path: str) -> None:
        """Add a resource, unless another has its id; `id_path`: the field that has it."""
        first, same = self._first.setdefault(found.resource.id, (id_path, found))
        if first == id_path:
            self.resources.append(found)
        elif (same.resource, same.alignments) == (found.resource, found.alignments):
            self.leave_out("the same resource again, with the same values", found.resource.id)
        else:
            reason = f"{found.resource.id!r} identifies the resource at {first}, too; keep one of the two"
            self.problems.append(Problem(id_path, reason))

    def leave_out(self, reason: str, what: str) -> None:
        """Note something that is not taken."""
        self.left_out.append(LeftOut(reason, what))

    def leave_out_value(self, reason: str, what: str) -> None:
        """Note a value of a resource that is not taken."""
        self.values_left_out.append(LeftOut(reason, what))

    def reject(self, path: str, reason: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(path, reason))

    def text(self, what: str, value: str, most: int, where: str) -> str:
        """A text without control characters, cut to what the catalog takes."""
        value = clean(value)
        if len(value) > most:
            self.leave_out_value(f"the end of a {what} of more than {most:,} characters", where)
        return value[:most].strip()

    def title(self, value: str, where: str) -> str:
        """A title, on one line."""
        return self.text("title", " ".join(value.split()), TITLE_CHARACTERS_MAX, where)

    def name(self, what: str, value: str, where: str) -> str:
        """A name, on one line."""
        return self.text(what, " ".join(value.split()), NAME_CHARACTERS_MAX, where)

    def description(self, value: str, where: str) -> str:
        """A description."""
        return self.text("description", value, TEXT_CHARACTERS_MAX, where)

    def url(self, value: str, where: str) -> str:
        """A web address; empty if it is none."""
        value = value.strip()
        if any(url_problems("", value)):
            self.leave_out_value("an address that is no web address", f"{value[:80]!r} of {where}")
            return ""
        return value

    def grades(self, values: Iterable[str], where: str) -> tuple[str, ...]:
        """The grades of levels such as `K`, `Grade 3` and `6-8`."""
        grades: set[str] = set()
        for value in values:
            found = grades_of_text(value)
            if not found:
                self.leave_out_value("an education level that is no grade from PK to 12", f"{value[:80]!r} of {where}")
            grades.update(found)
        return tuple(sorted(grades, key=GRADES.index))

    def topics(self, values: Iterable[str], where: str) -> tuple[str, ...]:
        """Topics of texts: `Outer space` becomes `outer-space`."""
        topics = dict.fromkeys(topic for value in values if (topic := topic_of(value)))
        if len(topics) > TOPICS_MAX:
            self.leave_out_value(f"topics beyond the first {TOPICS_MAX}", where)
        return tuple(topics)[:TOPICS_MAX]

    def minutes(self, values: Iterable[str], where: str) -> int | None:
        """The longest of some lengths, in minutes."""
        lengths = []
        for value in values:
            if (length := minutes_of(value)) is None:
                self.leave_out_value("a length that is none, such as PT1H or 1 hour", f"{value[:80]!r} of {where}")
            else:
                lengths.append(length)
        return max(lengths, default=None)

    def language(self, value: str, where: str) -> str:
        """A BCP 47 tag of a tag or of the English name of a language."""
        tag = _LANGUAGES.get(value.strip().lower(), value.strip().replace("_", "-"))
        if not re.fullmatch(r"(?:[A-Za-z]{2,3}(?:-[A-Za-z]{4})?(?:-(?:[A-Za-z]{2}|\d{3}))?)?", tag):
            self.leave_out_value("a language that is no BCP 47 tag", f"{value[:80]!r} of {where}")
            return ""
        return tag


def grades_of_text(text: str) -> tuple[str, ...]:
    """The grades that a text means; none: it is no grade."""
    found = _GRADES.fullmatch(" ".join(text.split()))
    if found is None:
        return ()
    first, last = (GRADES.index(_grade(each)) for each in (found[1], found[2] or found[1]))
    return GRADES[first : last + 1]


def _grade(text: str) -> str:
    text = text.lower().replace("-", "")
    return {"prek": "PK", "pk": "PK", "kindergarten": "K", "kg": "K", "k": "K"}.get(text) or text.lstrip("0")


def topic_of(text: str) -> str:
    """A topic for a text; empty: it has no letter or digit."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_TOPIC_CHARACTERS_MAX].strip("-")


def minutes_of(text: str) -> int | None:
    """A length in minutes, from ISO 8601, a clock such as `03:12`, or words such as `1 hour`; None: it is none."""
    text = text.strip()
    if len(text) > _LENGTH_CHARACTERS_MAX:
        return None
    minutes: float | None = None
    if (found := _ISO_DURATION.fullmatch(text.upper())) and any(found.groups()):
        minutes = sum(float(part or 0) * each for part, each in zip(found.groups(), _ISO_MINUTES, strict=True))
    elif found := _CLOCK.fullmatch(text):
        minutes = int(found[1] or 0) * 60 + int(found[2]) + int(found[3]) / _SECONDS_PER_MINUTE
    elif parts := _WORDED.findall(text):
        minutes = sum(float(number) * _MINUTES_OF_UNIT[unit[0].lower()] for number, unit in parts)
    if minutes is None or not 0 < minutes <= MINUTES_MAX:
        return None
    return max(1, round(minutes))


def kind_of(texts: Iterable[str]) -> ResourceKindName | None:
    """The kind that some texts name, such as `lesson plan` and `VideoObject`; None: none."""
    words = {word.lower().removesuffix("s") for text in texts for word in _WORD.findall(text)}
    return next((kind for kind, names in _WORDS_OF_KIND.items() if words & names), None)
