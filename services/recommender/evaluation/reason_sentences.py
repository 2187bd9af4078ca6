"""The sentences that reasons may read as, and what must hold of the learner and the catalog for each.

This is the specification that `reason_checker` compares reasons with. It shares no code with ranking.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from services.common.resource_kinds import ResourceKind
from services.recommender.evaluation.reason_answers import FEW, PRECISION, ROUNDING, answers_problems
from services.recommender.evaluation.reason_case import Case, Parts

_MASTERED = 0.7
_TARGET_OF_PACE = (0.75, 0.85, 0.75, 0.65)
_FIT_WIDTH = 0.15
_HALF_LIFE_DAYS = 7.0
_DUE = 0.5
_DAY_S = 86_400.0
_TENTH = 0.1
_PRACTISED = r"mastered, (?P<answers>[^;]+); last practised (?P<days>\d+) (?P<unit>days?) ago"
_USUAL_NEXT = 5
_USUAL_LEARNERS = 5
_USUAL_POINT = 0.1

Check = Callable[[Case, str, Parts], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A form of sentence.

    Attributes:
        kinds: names of the kinds of reason that may read so.
        about_skill: whether it starts with the name of one of the resource's skills and a colon.
        pattern: the rest of it.
        check: what is false in it, given the skill and the parts of the pattern.
    """

    kinds: tuple[str, ...]
    about_skill: bool
    pattern: re.Pattern[str]
    check: Check


def _supported(case: Case, skill: str, parts: Parts, *, strength: bool) -> Iterator[str]:
    """What is false in the answers, and whether they contradict the claim that they follow."""
    problems, share = answers_problems(case.known(skill), parts["answers"] or "")
    yield from problems
    # The last answers are always right ones.
    claims_right = True if share is None else share >= _MASTERED - ROUNDING
    claims_wrong = False if share is None else share <= _MASTERED + ROUNDING
    if not (claims_right if strength else claims_wrong):
        yield "the answers contradict the claim"


def _not_mastered(case: Case, skill: str, parts: Parts) -> Iterator[str]:
    if case.known(skill).mastered or case.known(skill).responses == 0:
        yield "the skill is mastered, or has no answers"
    yield from _supported(case, skill, parts, strength=False)


def _needed(case: Case, skill: str, parts: Parts) -> Iterator[str]:
    yield from _not_mastered(case, skill, parts)
    if case.facts.learner.recent is None:
        return
    builds_on_it = [latest for latest in case.latest_skills if skill in case.prerequisites(latest)]
    if not any(case.is_name_of(parts["other"], latest) for latest in builds_on_it):
        yield "it is no prerequisite of a skill of the latest work of that name"


def _almost(case: Case, skill: str, parts: Parts) -> Iterator[str]:
    known = case.known(skill)
    if known.mastered or known.responses == 0 or known.chance < _MASTERED - PRECISION:
        yield "the skill is mastered, or far from it"
    yield from _supported(case, skill, parts, strength=True)


def _no_answers(case: Case, skill: str, parts: Parts) -> Iterator[str]:
    if case.known(skill).responses:
        yield f"there are {case.known(skill).responses} answers"
    if (case.resource.kind in ("assessment", "practice")) != (parts["what"] == "find out what is known"):
        yield "only practice and assessments find out what is known"


def _few_answers(case: Case, skill: str, parts: Parts) -> Iterator[str]:
    if not 0 < case.known(skill).responses < FEW:
        yield f"there are {case.known(skill).responses} answers"
    yield from answers_problems(case.known(skill), parts["answers"] or "")[0]


def _unsure(case: Case, skill: str, parts: Parts) -> Iterator[str]:
    known = case.known(skill)
    if known.mastered or known.high - known.low < 0.5 - PRECISION:
        yield f"the chance is from {known.low:.2f} to {known.high:.2f}"
    problems, share = answers_problems(known, parts["answers"] or "")
    yield from problems
    if share is None or not all(0.5 - ROUNDING <= each <= 0.8 + ROUNDING for each in (share, known.chance)):
        yield "the answers show which it is"


def _new_learner(case: Case, _skill: str, _parts: Parts) -> Iterator[str]:
    if case.facts.learner.responses:
        yield f"the learner gave {case.facts.learner.responses} answers"


def _challenge(case: Case, _skill: str, parts: Parts) -> Iterator[str]:
    chance, entry = int(parts["chance"] or 0) / 100.0, case.entry
    if abs(chance - entry.success) > ROUNDING:
        yield f"the chance of success is {100 * entry.success:.1f} %"
    if case.facts.learner.responses == 0:
        yield "nothing is known about the learner"
    target = _TARGET_OF_PACE[case.facts.learner.preferences.pace]
    least, most = target - _FIT_WIDTH, target + _FIT_WIDTH
    practised = case.resource.kind in ("assessment", "practice")
    holds = {
        "to be taught first": entry.step == "TEACH" and chance <= 0.5,
        "a way to see it again": not practised and bool(entry.skill) and case.known(entry.skill).responses > 0,
        "hard, but within reach": practised and 0.5 - ROUNDING <= chance <= least + ROUNDING,
        "the right challenge": practised and least - ROUNDING <= chance <= most + ROUNDING,
        "easy": practised and chance >= most - ROUNDING,
    }
    if not holds[parts["claim"] or ""]:
        yield f"it is not {parts['claim']}, at {100 * chance:.0f} % of a {case.resource.kind} to {entry.step.lower()}"


def _review(case: Case, skill: str, parts: Parts) -> Iterator[str]:
    yield from _practised(case, skill, parts)
    known = case.known(skill)
    half_lives = _days_since(case, skill) / (_HALF_LIFE_DAYS * math.sqrt(1.0 + known.successes))
    if case.facts.learner.by_recall:
        yield "the expected recall is not said"
    elif 1.0 - 2.0**-half_lives < _DUE - PRECISION:
        yield "no review is due"


def _review_by_recall(case: Case, skill: str, parts: Parts) -> Iterator[str]:
    yield from _practised(case, skill, parts)
    recall, by_recall = case.known(skill).recall, case.facts.learner.by_recall
    if by_recall is None:
        return
    if not by_recall or recall is None:
        yield "no recall is expected"
    elif recall > _MASTERED + PRECISION:
        yield "no review is due"
    elif abs(recall - int(parts["tenths"] or 0) / 10.0) > _TENTH / 2.0 + PRECISION:
        yield f"the expected recall is {recall:.3f}"


def _practised(case: Case, skill: str, parts: Parts) -> Iterator[str]:
    """What is false in that a skill is mastered and was practised some days ago."""
    known, days = case.known(skill), int(parts["days"] or 0)
    if not known.mastered:
        yield "the skill is not mastered"
    if known.last_at_s <= 0:
        yield "it is not known when it was practised"
        return
    since = _days_since(case, skill)
    if abs(since - days) > 0.5 + PRECISION or (days == 1) != (parts["unit"] == "day"):
        yield f"it was practised {since:.1f} days ago"
    yield from _supported(case, skill, parts, strength=True)


def _days_since(case: Case, skill: str) -> float:
    return (case.facts.as_of_s - case.known(skill).last_at_s) / _DAY_S


def _similar(case: Case, _skill: str, parts: Parts) -> Iterator[str]:
    place, resources = (int((parts[name] or "0").replace(",", "")) for name in ("place", "resources"))
    scored = case.facts.scores
    if scored is None:
        if not 1 <= place <= resources:
            yield "there is no such place"
        return
    if (parts["similar"] is None) != scored.for_all:
        yield f"the scores are those of {'all' if scored.for_all else 'similar'} learners"
    recent = case.facts.learner.recent or ()
    own = [index for name in recent if case.in_catalog(name) and (index := scored.index(name)) >= 0]
    others, index = np.delete(scored.scores, own), scored.index(case.entry.resource)
    if not scored.history or index < 0:
        yield "the model knows nothing of the learner's history, or not the resource"
        return
    score = scored.scores[index]
    if score < others.mean():
        yield "others are worked on more, on average"
    true_place = 1 + int(np.count_nonzero(others > score))
    if (place, resources) != (true_place, len(others)):
        yield f"it is number {true_place} of {len(others)}"


def _own_goal(case: Case, skill: str, _parts: Parts) -> Iterator[str]:
    if skill not in case.facts.learner.preferences.goals or case.known(skill).mastered:
        yield "it is no goal of the learner, or is mastered"


def _leads_to_goal(case: Case, skill: str, parts: Parts) -> Iterator[str]:
    if case.known(skill).mastered:
        yield "the skill is mastered"
    for goal in case.facts.learner.preferences.goals:
        if not case.is_name_of(parts["other"], goal):
            continue
        ahead, seen = [goal], {goal}
        while ahead:
            new = set(case.prerequisites(ahead.pop())) - seen
            ahead += new
            seen |= new
        if skill in seen - {goal}:
            return
    yield "it leads to no goal of that name"


def _same_as_goal(case: Case, skill: str, parts: Parts) -> Iterator[str]:
    facts = case.facts.catalog.skill(skill)
    goals = [goal for goal in case.facts.learner.preferences.goals if facts is not None and goal in facts.same]
    if case.known(skill).mastered or parts["other"] not in {case.source_of(goal) for goal in goals}:
        yield "it is not the same skill as a goal of that name, or is mastered"


def _preference(case: Case, _skill: str, parts: Parts) -> Iterator[str]:
    preferences = case.facts.learner.preferences
    kind, topics = parts.get("kind"), parts.get("topics")
    if kind is not None and (kind != case.resource.kind or ResourceKind[kind.upper()] not in preferences.formats):
        yield f"it is of kind {case.resource.kind}, which the learner may not prefer"
    named = [topic for topic in preferences.interests if topic in case.resource.topics]
    if topics is not None and topics not in {*named, *(f"{one} and {other}" for one in named for other in named)}:
        yield f"the learner likes {named} of its topics"


def _by_rules(case: Case, _skill: str, parts: Parts) -> Iterator[str]:
    if case.facts.rules is None:
        return
    pins = (parts["does"] or "").startswith("Pinned")
    covering = [
        f"{name!r} ({rule.note})" if rule.note else repr(name)
        for name, rule in case.facts.rules.items()
        if rule.pins == pins and rule.covers(case.entry.resource)
    ]
    said = parts["rules"] or ""
    for name in sorted(covering, key=len, reverse=True):
        said = said.replace(name, "", 1)
    if said.strip(", "):
        yield f"no such rule covers it: {said.strip(', ')}"
    if not pins and (parts["does"] or "").endswith("rules") != (len(covering) > 1):
        yield f"{len(covering)} rules cover it"


def _carries_on(case: Case, skill: str, _parts: Parts) -> Iterator[str]:
    if skill not in case.latest_skills and case.facts.learner.recent is not None:
        yield "it is no skill of the latest work"


def _comes_next(case: Case, skill: str, _parts: Parts) -> Iterator[str]:
    latest, usual = case.latest, case.facts.usual
    if usual is None:
        return
    for before in case.skills_of(latest[-1]) if latest else ():
        strengths = {
            name: strength
            for name, strength in usual.follows(before).items()
            if name not in case.latest_skills and case.facts.catalog.skill(name) is not None
        }
        own = strengths.get(skill, 0.0)
        if own > 0.0 and sum(strength > own for strength in strengths.values()) < _USUAL_NEXT:
            return
    yield "it is not among what learners usually do next"


def _at_this_point(case: Case, _skill: str, _parts: Parts) -> Iterator[str]:
    usual, resource = case.facts.usual, case.entry.resource
    if usual is None:
        return
    known = [each for each in case.latest if usual.learners(each) > 0]
    if not known or usual.learners(resource) < _USUAL_LEARNERS - PRECISION:
        yield "too few learners worked on it"
    elif abs(usual.place(resource) - sum(map(usual.place, known)) / len(known)) > _USUAL_POINT + PRECISION:
        yield f"it usually comes at {usual.place(resource):.2f} of a learner's work"


def _one_more(case: Case, _skill: str, parts: Parts) -> Iterator[str]:
    yield from number_problems(case, parts["number"] or "")
    kind = case.resource.kind
    holds = {
        "TEACH": "Another way to learn",
        "PRACTISE": "Another explanation of" if kind in ("lesson", "video") else "More practice on",
        "REASSESS": "Another check of",
        "FIND_OUT": "Another way to find out about" if kind in ("assessment", "practice") else "Another look at",
    }[case.entry.step]
    if parts["what"] != holds or not case.entry.skill:
        yield f"it is: {holds} the same skill"


def number_problems(case: Case, number: str) -> Iterator[str]:
    """What is false in the place of a resource among those of its skill in the list, which is at least the second."""
    if case.number == 1 or int(number) != case.number:
        yield f"it is number {case.number} of its skill in the list"


def _sentence(kinds: str, pattern: str, check: Check, *, about_skill: bool = True) -> Sentence:
    return Sentence(tuple(kinds.split()), about_skill, re.compile(pattern), check)


SENTENCES = (
    _sentence("GAP", "not mastered yet, (?P<answers>[^;]+)", _not_mastered),
    _sentence("GAP", "not mastered yet, (?P<answers>[^;]+); needed for the latest work, (?P<other>.+)", _needed),
    _sentence("GAP", "almost mastered, (?P<answers>[^;]+)", _almost),
    _sentence("EXPLORE", "no answers yet, (?P<what>find out what is known|take a first look)", _no_answers),
    _sentence("EXPLORE", "little is known yet, (?P<answers>[^;]+)", _few_answers),
    _sentence("EXPLORE", "hard to tell yet, (?P<answers>[^;]+)", _unsure),
    _sentence("EXPLORE", "No answers from this learner yet: a place to start", _new_learner, about_skill=False),
    _sentence(
        "FIT",
        r"(?P<chance>\d+) % likely to succeed(?: without help)?: (?P<claim>to be taught first|a way to see it again|"
        "hard, but within reach|the right challenge|easy)",
        _challenge,
        about_skill=False,
    ),
    _sentence("REVIEW", _PRACTISED, _review),
    _sentence(
        "REVIEW",
        rf"{_PRACTISED}, (?:about (?P<tenths>[1-9]\d*)|less than 1) in 10 likely to be right today",
        _review_by_recall,
    ),
    _sentence(
        "SIMILAR_LEARNERS",
        r"(?:(?P<similar>Learners with a similar history)|Many learners) worked on it: "
        r"number (?P<place>[\d,]+) of (?P<resources>[\d,]+) resources",
        _similar,
        about_skill=False,
    ),
    _sentence("GOAL", "a goal of the learner", _own_goal),
    _sentence("GOAL", "the same skill as a goal of the learner, (?P<other>.+)", _same_as_goal),
    _sentence("GOAL", "leads to the learner's goal, (?P<other>.+)", _leads_to_goal),
    _sentence("PREFERENCE", r"Of a kind the learner prefers: (?P<kind>\w+)", _preference, about_skill=False),
    _sentence("PREFERENCE", "About what the learner likes: (?P<topics>.+)", _preference, about_skill=False),
    _sentence(
        "PREFERENCE",
        r"Of a kind the learner prefers, (?P<kind>\w+), and about what they like: (?P<topics>.+)",
        _preference,
        about_skill=False,
    ),
    _sentence("PINNED", "(?P<does>Pinned by the rule) (?P<rules>.+)", _by_rules, about_skill=False),
    _sentence("BOOSTED", "(?P<does>Moved up by the rules?) (?P<rules>.+)", _by_rules, about_skill=False),
    _sentence("RECENT_WORK", "carries on with the latest work", _carries_on),
    _sentence("RECENT_WORK", "often comes next after the latest work", _comes_next),
    _sentence("RECENT_WORK", "Learners usually work on it at about this point", _at_this_point, about_skill=False),
    _sentence(
        "GAP EXPLORE REVIEW RECENT_WORK FIT SIMILAR_LEARNERS",
        r"(?P<what>[A-Z][a-z ]+) the same skill \(resource (?P<number>\d+) on it in this list\)",
        _one_more,
        about_skill=False,
    ),
)
"""Every form of sentence."""
