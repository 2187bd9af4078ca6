"""Checks the reasons of a list: whether each sentence is true of the learner and the catalog, and reads well.

A reason is false when either it or the specification in `reason_sentences` is wrong: they share no code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from services.recommender.evaluation.reason_case import CUT, Case, Parts, names_of
from services.recommender.evaluation.reason_facts import Entry, Facts, GivenReason, SkillFacts
from services.recommender.evaluation.reason_sentences import SENTENCES, number_problems

_MOST_REASONS = 2
_RATHER_SUCCEEDS = 0.505

_ODD = re.compile(
    r"\.\.\.|\u2026|\bnan\b|\binf\b|\bNone\b|[{}]|\s\s|^\s|\s$"
    r"|\b1 (?:answers|days|resources|learners)\b|\b(?:0|[2-9]|\d\d+) (?:answer|day|resource|learner)\b"
    rf"|{CUT.pattern}"
)
_JARGON = re.compile(
    r"\b(?:posterior|logit|estimate|interval|variance|candidate|signal|responses?|slot|probability|prior|gap"
    r"|collaborative|ranker|score)\b",
    re.IGNORECASE,
)
_THROUGH = re.compile(r"(?P<said>.+); the answers were on (?P<source>.+), which is the same skill")
_ABOUT_ANSWERS = ("GAP", "FIT", "REVIEW", "EXPLORE")
_NUMBERED = re.compile(r"(?P<said>.+) \(resource (?P<number>\d+) on this skill\)")
_SENTENCES_OF_KIND = {
    kind: tuple(sentence for sentence in SENTENCES if kind in sentence.kinds)
    for kind in {kind for sentence in SENTENCES for kind in sentence.kinds}
}
_NUMBERED_KINDS = ("GOAL", "PREFERENCE", "PINNED", "BOOSTED")


def problems_of(facts: Facts, entries: Sequence[Entry]) -> list[str]:
    """What is false or reads badly in the reasons and steps of a list, one line each; none: every reason is true."""
    found: list[str] = []
    numbers: Counter[str] = Counter()
    said: set[tuple[str, str]] = set()
    for entry in entries:
        resource = facts.catalog.resource(entry.resource)
        if resource is None:
            found.append(f"{entry.resource}: the catalog has no such resource")
            continue
        numbers[entry.skill] += 1
        case = Case(facts, entry, resource, numbers[entry.skill])
        where = f"{entry.resource} ({entry.step.lower()}, {entry.skill or 'no skill'})"
        found += [f"{where}: {problem}" for problem in _entry_problems(case)]
        for reason in entry.reasons:
            if entry.skill and (entry.skill, reason.text) in said:
                found.append(f"{where}: another resource of the skill has the same sentence: {reason.text!r}")
            said.add((entry.skill, reason.text))
            found += [
                f"{where}: {reason.kind} {reason.text!r}: {problem}" for problem in _reason_problems(case, reason)
            ]
    return found


def _entry_problems(case: Case) -> Iterator[str]:
    entry, resource = case.entry, case.resource
    if entry.skill and entry.skill not in resource.skills:
        yield "the resource does not serve the skill"
        return
    if len(entry.reasons) > _MOST_REASONS:
        yield f"it has {len(entry.reasons)} reasons"
    if len({reason.kind for reason in entry.reasons}) < len(entry.reasons):
        yield "two reasons are of one kind"
    unknown = bool(entry.skill) and case.known(entry.skill).responses == 0
    if unknown != (entry.step == "FIND_OUT"):
        yield "find out is the step for a skill without answers, and for no other"
    about_answers = [reason for reason in entry.reasons if reason.kind in _ABOUT_ANSWERS]
    if _answered_instead(case) and about_answers and not any(map(_is_through, about_answers)):
        yield "no reason says that the answers were on the same skill of another framework"
    if entry.step == "REASSESS" and resource.kind != "assessment":
        yield "only an assessment re-assesses"
    if entry.step == "TEACH":
        if entry.skill not in resource.teaches:
            yield "the resource does not teach the skill"
        if entry.success > _RATHER_SUCCEEDS or case.known(entry.skill).mastered:
            yield "teaching does not come first where the learner would rather succeed"


def _reason_problems(case: Case, reason: GivenReason) -> list[str]:
    """What is wrong with a reason, read in the way in which the least is wrong."""
    text = reason.text
    problems: list[str] = []
    through = _THROUGH.fullmatch(text)
    if through is not None and reason.kind in _ABOUT_ANSWERS:
        text = through["said"]
        if through["source"] not in map(case.source_of, _answered_instead(case)):
            problems.append("the learner answered the skill itself, or not the one named")
    numbered = _NUMBERED.fullmatch(text)
    if numbered is not None and reason.kind in _NUMBERED_KINDS:
        text = numbered["said"]
        problems += number_problems(case, numbered["number"])
    readings = [
        [*problems, *sentence.check(case, skill, parts.groupdict()), *_form_problems(rest, parts.groupdict())]
        for sentence in _SENTENCES_OF_KIND.get(reason.kind, ())
        for skill, rest in (_about_skills(case, text) if sentence.about_skill else (("", text),))
        if (parts := sentence.pattern.fullmatch(rest)) is not None
    ]
    if not readings:
        return ["no sentence of this kind reads so, or it names a skill that the resource does not serve"]
    return min(readings, key=len)


def _is_through(reason: GivenReason) -> bool:
    return _THROUGH.fullmatch(reason.text) is not None


def _answered_instead(case: Case) -> list[str]:
    """The skills whose answers count for the entry's, which the learner never answered."""
    facts, own = case.facts.catalog.skill(case.entry.skill), case.facts.learner.own
    if facts is None or own is None or own(case.entry.skill):
        return []
    return [skill for skill in facts.same if own(skill)]


def _about_skills(case: Case, text: str) -> Iterator[tuple[str, str]]:
    """The skills of the resource that a sentence may start with, and what it then says of each."""
    for skill in case.resource.skills:
        for name in names_of(case.facts.catalog.skill(skill) or SkillFacts(skill)):
            if text.startswith(f"{name}: "):
                yield skill, text[len(name) + 2 :]


def _form_problems(text: str, parts: Parts) -> Iterator[str]:
    """What reads badly in a sentence, apart from the names in it."""
    for name in ("other", "topics", "rules"):
        if (value := parts.get(name)) is not None:
            text = text.replace(value, "it")
    if odd := _ODD.search(text):
        yield f"it reads badly at {odd.group()!r}"
    if jargon := _JARGON.search(text):
        yield f"{jargon.group()!r} is jargon"
