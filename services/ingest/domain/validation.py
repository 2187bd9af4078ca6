"""What a submission must be to enter the log. Every problem is named: field, value and remedy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from services.ingest.domain.assessment import SKILLS_MAX, Assessment, Grain, Score
from services.ingest.domain.correction import Correction
from services.ingest.domain.interaction import Interaction, InteractionKind
from services.ingest.domain.preference import GOALS_MAX, INTERESTS_MAX, Pace, Preference, ResourceKind
from services.ingest.domain.problems import Problem, ProblemKind, shown, text_problems
from services.ingest.domain.submission import Instant, Submission

EVENT_ID_CHARACTERS_MAX = 128
ID_CHARACTERS_MAX = 256
SEQUENCE_CHARACTERS_MAX = 128
RECOMMENDATION_ID_CHARACTERS_MAX = 64
FUTURE_MAX_S = 5 * 60

_NANOSECONDS_PER_SECOND = 1_000_000_000
# 9999-12-31T23:59:59Z, the last second of a Timestamp.
_SECONDS_MAX = 253_402_300_799
# Looking a number up among the members of an enum takes longer than all else about it.
_GRAINS = frozenset(map(int, Grain))
_INTERACTION_KINDS = frozenset(map(int, InteractionKind))
_PACES = frozenset(map(int, Pace))
_RESOURCE_KINDS = frozenset(map(int, ResourceKind))
_TOPIC = re.compile(r"[a-z0-9-]{1,64}")


def problems_of(submission: Submission, now: Instant) -> list[Problem]:
    """Everything wrong with a submission; empty when it may enter the log.

    Args:
        submission: as a platform sent it.
        now: the server's clock.
    """
    learner, source = "the platform's id of the learner", "the name of the system that saw the event"
    problems = [
        *text_problems("learner_id", submission.learner_id, ID_CHARACTERS_MAX, required=learner),
        *text_problems("source", submission.source, ID_CHARACTERS_MAX, required=source),
        *text_problems("event_id", submission.event_id, EVENT_ID_CHARACTERS_MAX),
        *text_problems("source_sequence", submission.source_sequence, SEQUENCE_CHARACTERS_MAX),
    ]
    if submission.occurred_at is not None:
        problems += _occurred_at(submission.occurred_at, now)
    match submission.body:
        case Assessment() as assessment:
            problems += _assessment(assessment)
        case Interaction() as interaction:
            problems += _interaction(interaction)
        case Preference() as preference:
            problems += _preference(preference)
        case Correction() as correction:
            problems += _correction(correction, submission)
        case None:
            reason = "is not set: say what happened with assessment, interaction, preference or correction"
            problems.append(Problem("body", ProblemKind.MISSING, reason))
    return problems


def _assessment(assessment: Assessment) -> Iterator[Problem]:
    yield from text_problems("assessment.item", assessment.item, ID_CHARACTERS_MAX)
    yield from text_problems("assessment.activity", assessment.activity, ID_CHARACTERS_MAX)
    yield from _grain(assessment)
    if assessment.skills:
        keep = "those the item chiefly assesses"
        yield from _distinct_ids("assessment.skills", assessment.skills, SKILLS_MAX, keep)
    if assessment.outcome is None:
        yield Problem(
            "assessment.outcome", ProblemKind.MISSING, "is not set: send correct, or score with raw, min and max"
        )
    elif isinstance(assessment.outcome, Score):
        yield from _score("assessment.score", assessment.outcome)
    if assessment.attempt == 0:
        yield Problem(
            "assessment.attempt", ProblemKind.OUT_OF_RANGE, "is 0: count tries from 1, or leave it out when not counted"
        )


def _grain(assessment: Assessment) -> Iterator[Problem]:
    if assessment.grain not in _GRAINS:
        yield Problem(
            "assessment.grain",
            ProblemKind.UNKNOWN,
            f"is {assessment.grain}, which names no grain: send GRAIN_ITEM (1) or GRAIN_ACTIVITY (2), or leave it out",
        )
    elif not assessment.item and not assessment.activity:
        field = "activity" if assessment.grain == Grain.ACTIVITY else "item"
        yield Problem(
            f"assessment.{field}",
            ProblemKind.MISSING,
            "is empty and so is the other: name the item that was answered, or the activity that was scored",
        )
    elif assessment.grain == Grain.ITEM and not assessment.item:
        yield Problem(
            "assessment.item",
            ProblemKind.MISSING,
            "is empty but the grain is an item: name the item, or send GRAIN_ACTIVITY for a score on the activity",
        )
    elif assessment.grain == Grain.ACTIVITY and not assessment.activity:
        yield Problem(
            "assessment.activity",
            ProblemKind.MISSING,
            "is empty but the grain is an activity: name the activity, or send GRAIN_ITEM for an answer to the item",
        )
    elif assessment.grain == Grain.ACTIVITY and assessment.item:
        yield Problem(
            "assessment.item",
            ProblemKind.CONTRADICTORY,
            f"is {shown(assessment.item)} but the grain is an activity: leave the item out, or send GRAIN_ITEM",
        )


def _interaction(interaction: Interaction) -> Iterator[Problem]:
    required = "the resource's id in the catalog"
    yield from text_problems("interaction.resource", interaction.resource, ID_CHARACTERS_MAX, required=required)
    if interaction.kind == InteractionKind.UNSPECIFIED or interaction.kind not in _INTERACTION_KINDS:
        reason = "is not set" if not interaction.kind else f"is {interaction.kind}, which names no kind"
        remedy = "send INTERACTION_KIND_OPENED (1), INTERACTION_KIND_COMPLETED (2) or INTERACTION_KIND_DISMISSED (3)"
        kind = ProblemKind.UNKNOWN if interaction.kind else ProblemKind.MISSING
        yield Problem("interaction.kind", kind, f"{reason}: {remedy}")
    recommendation_id = interaction.recommendation_id
    yield from text_problems("interaction.recommendation_id", recommendation_id, RECOMMENDATION_ID_CHARACTERS_MAX)


def _preference(preference: Preference) -> Iterator[Problem]:
    if preference == Preference():
        reason = "says nothing: set goals, interests, formats or pace; an empty list takes back what was said before"
        yield Problem("preference", ProblemKind.MISSING, reason)
    yield from _distinct_ids("preference.goals.skills", preference.goals or (), GOALS_MAX, "those that come first")
    yield from _interests(preference.interests or ())
    yield from _formats(preference.formats or ())
    if preference.pace not in _PACES:
        remedy = "send PACE_GENTLE (1), PACE_STEADY (2) or PACE_BRISK (3), or leave it out"
        yield Problem("preference.pace", ProblemKind.UNKNOWN, f"is {preference.pace}, which names no pace: {remedy}")


def _interests(topics: tuple[str, ...]) -> Iterator[Problem]:
    if len(topics) > INTERESTS_MAX:
        reason = f"has {len(topics)} topics, at most {INTERESTS_MAX}: keep those that matter most"
        yield Problem("preference.interests.topics", ProblemKind.TOO_MANY, reason)
        return
    for index, topic in enumerate(topics):
        field = f"preference.interests.topics[{index}]"
        first = topics.index(topic)
        if not _TOPIC.fullmatch(topic):
            reason = f"is {shown(topic)}: send a label of the catalog's topics, 1 to 64 of a-z, 0-9 and -"
            yield Problem(field, ProblemKind.UNKNOWN, reason)
        elif first != index:
            yield Problem(field, ProblemKind.REPEATED, f"is {shown(topic)} again, as topics[{first}]: name each once")


def _formats(kinds: tuple[int, ...]) -> Iterator[Problem]:
    for index, kind in enumerate(kinds):
        field = f"preference.formats.kinds[{index}]"
        first = kinds.index(kind)
        if first != index:
            yield Problem(field, ProblemKind.REPEATED, f"is {kind} again, as kinds[{first}]: name each kind once")
        elif kind not in _RESOURCE_KINDS:
            known = ", ".join(f"{known.name} ({known.value})" for known in ResourceKind)
            yield Problem(field, ProblemKind.UNKNOWN, f"is {kind}, which names no kind of resource: send {known}")


def _correction(correction: Correction, submission: Submission) -> Iterator[Problem]:
    yield from text_problems(
        "correction.target_event_id",
        correction.target_event_id,
        EVENT_ID_CHARACTERS_MAX,
        required="the id of the event that was wrong, as it was given or as PublishEvents derived it",
    )
    yield from text_problems("correction.target_source", correction.target_source, ID_CHARACTERS_MAX)
    own = (submission.source, submission.event_id)
    if correction.target_event_id and own == (correction.target_source or own[0], correction.target_event_id):
        reason = f"is {shown(correction.target_event_id)}, this correction's own id: name the event that was wrong"
        yield Problem("correction.target_event_id", ProblemKind.CONTRADICTORY, reason)
    if correction.change is None:
        reason = "is not set: send voided when the event never happened, else correct, or score with raw, min and max"
        yield Problem("correction.change", ProblemKind.MISSING, reason)
    elif isinstance(correction.change, Score):
        yield from _score("correction.score", correction.change)


def _distinct_ids(field: str, identifiers: tuple[str, ...], count_max: int, keep: str) -> Iterator[Problem]:
    if len(identifiers) > count_max:
        reason = f"has {len(identifiers)} skills, at most {count_max}: keep {keep}"
        yield Problem(field, ProblemKind.TOO_MANY, reason)
        return
    for index, identifier in enumerate(identifiers):
        entry = f"{field}[{index}]"
        required = "a skill's id, or leave the entry out"
        yield from text_problems(entry, identifier, ID_CHARACTERS_MAX, required=required)
        first = identifiers.index(identifier)
        if identifier and first != index:
            reason = f"is {shown(identifier)} again, as skills[{first}]: name each skill once"
            yield Problem(entry, ProblemKind.REPEATED, reason)


def _score(field: str, score: Score) -> Iterator[Problem]:
    not_finite = [name for name in ("raw", "min", "max") if not math.isfinite(getattr(score, name))]
    for name in not_finite:
        reason = f"is {getattr(score, name)}: send a finite number"
        yield Problem(f"{field}.{name}", ProblemKind.NOT_FINITE, reason)
    if not_finite:
        return
    if score.max <= score.min:
        reason = f"is {score.max:g}, not above min {score.min:g}: send the most points one can get"
        yield Problem(f"{field}.max", ProblemKind.OUT_OF_RANGE, reason)
    elif not score.min <= score.raw <= score.max:
        reason = f"is {score.raw:g}, outside min {score.min:g} to max {score.max:g}: correct the points or the scale"
        yield Problem(f"{field}.raw", ProblemKind.OUT_OF_RANGE, reason)


def _occurred_at(occurred_at: Instant, now: Instant) -> Iterator[Problem]:
    if not 0 <= occurred_at.nanoseconds < _NANOSECONDS_PER_SECOND or occurred_at.seconds > _SECONDS_MAX:
        yield Problem(
            "occurred_at",
            ProblemKind.OUT_OF_RANGE,
            f"is {occurred_at.seconds} s and {occurred_at.nanoseconds} ns: send a Timestamp with nanos from 0 to "
            "999999999, up to the year 9999",
        )
    elif occurred_at.seconds < 0:
        yield Problem(
            "occurred_at",
            ProblemKind.OUT_OF_RANGE,
            f"is {-occurred_at.seconds} s before 1970: send when the learner acted, or leave it out when not known",
        )
    elif occurred_at > Instant(now.seconds + FUTURE_MAX_S, now.nanoseconds):
        yield Problem(
            "occurred_at",
            ProblemKind.FROM_THE_FUTURE,
            f"is {occurred_at.seconds - now.seconds} s ahead of this server's clock, at most {FUTURE_MAX_S}: "
            "set the sending clock, or leave it out when not known",
        )
