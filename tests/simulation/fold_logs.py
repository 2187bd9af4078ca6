"""Random logs of one learner: ids cross kinds, repeat, come again after erasures, are revised and contradicted.

Every log is folded whole, in batches, and as replays fold it that know its corrections to its end and to some offset
before. All must give the same bytes, and what docs/decisions/0034 defines, which is written here once more as plainly
as possible, without window, journal or batches.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.recommender.domain.learner import journal, seen
from services.recommender.domain.learner.batch import (
    CONFLICT,
    NOT_A_RESPONSE,
    RESOLVED_BY_REPLAY,
    FoldedLearner,
    LearnerEvents,
)
from services.recommender.domain.learner.corrections import NOTHING_KNOWN, LearnerCorrections
from services.recommender.domain.learner.events import (
    CONTENT_UNKNOWN,
    VOIDED,
    AssessmentEvent,
    ContentKind,
    CorrectionEvent,
    ErasureEvent,
    Grain,
    InteractionEvent,
    InteractionKind,
    LearnerEvent,
    PreferenceEvent,
    content_of,
)
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.journal import encode_journal
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.domain.learner.record import NEW_LEARNER, LearnerRecord
from services.recommender.domain.learner.state import decode_state, encode_state

Log = Sequence[LearnerEvent]

AT_ONCE = 500
_FOLD = LearnerFold(TracingParameters())
_KINDS = {
    AssessmentEvent: ContentKind.ASSESSMENT,
    InteractionEvent: ContentKind.INTERACTION,
    PreferenceEvent: ContentKind.PREFERENCE,
    CorrectionEvent: ContentKind.CORRECTION,
    ErasureEvent: ContentKind.ERASURE,
}
_INTERACTIONS = (InteractionKind.OPENED, InteractionKind.COMPLETED, InteractionKind.DISMISSED)
_SHORT_LIMITS = {"JOURNAL_EVENTS": 6, "FOLDED_AT_ONCE": 4, "EARLY_CORRECTIONS": 2}
_SHORT_WINDOW_BYTES = 10 * 8
# Within so few events neither a window nor a journal has an end, at its real length.
_PLAIN_EVENTS = 32


class FoldError(AssertionError):
    """A log is not folded as it should be."""


@contextmanager
def limits(*, short: bool) -> Iterator[None]:
    """Fold with a short journal and window, so that short logs reach beyond them; or with the real ones."""
    before = {name: getattr(journal, name) for name in _SHORT_LIMITS}, seen.WINDOW_BYTES
    try:
        if short:
            for name, value in _SHORT_LIMITS.items():
                setattr(journal, name, value)
            seen.WINDOW_BYTES = _SHORT_WINDOW_BYTES
        yield
    finally:
        for name, value in before[0].items():
            setattr(journal, name, value)
        seen.WINDOW_BYTES = before[1]


def log_of(seed: int) -> list[LearnerEvent]:
    """The log of a seed."""
    draw = random.Random(seed)
    events: list[LearnerEvent] = []
    for _ in range(draw.choice((3, 6, 10, 20))):
        events.append(_event(draw, events))
    return events


def _event(draw: random.Random, events: Log) -> LearnerEvent:
    chance = draw.random()
    if events and chance < 0.1:
        return draw.choice(events)
    used = [int.from_bytes(event.fingerprint, "little") for event in events]
    number = draw.choice(used) if used and chance < 0.3 else 1 + max(used, default=0)
    fingerprint = number.to_bytes(8, "little")
    body: LearnerEvent
    match draw.choices("aicpe", (8, 2, 4, 1, 0.4))[0]:
        case "a":
            body = _assessment(draw, fingerprint, used)
        case "i":
            body = InteractionEvent(fingerprint, draw.randrange(4), f"r{draw.randrange(3)}", draw.choice(_INTERACTIONS))
        case "c":
            target = draw.choice([*used, 1 + max(used, default=0) + draw.randrange(3)])
            body = CorrectionEvent(fingerprint, target.to_bytes(8, "little"), draw.choice((VOIDED, 0.0, 0.5, 1.0)))
        case "p":
            body = PreferenceEvent(fingerprint, draw.choice((None, (), ("s1",))), None, None, draw.randrange(3))
        case _:
            body = ErasureEvent(fingerprint)
    said = repr([value for name, value in body._asdict().items() if name not in {"fingerprint", "revises", "former"}])
    unknown = draw.random() < 0.03
    return body._replace(content=CONTENT_UNKNOWN if unknown else content_of(_KINDS[type(body)], said.encode()))


def _assessment(draw: random.Random, fingerprint: bytes, used: Sequence[int]) -> AssessmentEvent:
    grain = draw.choice((Grain.ITEM, Grain.ITEM, Grain.ACTIVITY))
    return AssessmentEvent(
        fingerprint,
        draw.choice((0.0, 0.5, 1.0)),
        draw.randrange(4),
        "" if grain else f"q{draw.randrange(4)}",
        draw.choice(("act1", "act2")) if grain else draw.choice(("", "act1")),
        tuple(draw.sample(("s1", "s2", "s3"), draw.randrange(3))),
        grain,
        draw.choice(("", "r1", "r2")),
        revises=draw.random() < 0.3,
        former=draw.choice(used).to_bytes(8, "little") if used and draw.random() < 0.1 else b"",
    )


@dataclass
class Expected:
    """What a log means where nothing is beyond journal or window: one id, one event, the last change wins.

    Attributes:
        duplicates: how many events were duplicates.
        refused: offset and code of each that was refused.
        erased_at: the offset of the last erasure; 0 if there was none.
    """

    duplicates: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    erased_at: int = 0
    _said: dict[bytes, list[bytes]] = field(default_factory=dict)
    _responses: dict[bytes, float] = field(default_factory=dict)
    _kept: dict[bytes, LearnerEvent] = field(default_factory=dict)

    def note(self, offset: int, event: LearnerEvent) -> None:
        """Add the next event."""
        identity, said = event.fingerprint, self._said
        if isinstance(event, AssessmentEvent) and identity not in said and event.former in said:
            identity = event.former
        if identity in said and not self._revises(offset, identity, event):
            return
        changes = identity in said or isinstance(event, CorrectionEvent)
        target = event.target if isinstance(event, CorrectionEvent) else identity
        if changes and target in self._kept and not isinstance(self._kept[target], AssessmentEvent):
            self.refused.append((offset, NOT_A_RESPONSE))
            return
        if isinstance(event, ErasureEvent):
            self.erased_at = offset
            for known in (said, self._responses, self._kept):
                known.clear()
        if changes and isinstance(event, AssessmentEvent | CorrectionEvent):
            self._responses[target] = event.response
        said.setdefault(identity, []).append(event.content)
        self._kept.setdefault(identity, event)

    def _revises(self, offset: int, identity: bytes, event: LearnerEvent) -> bool:
        said = self._said[identity]
        if isinstance(event, AssessmentEvent) and event.revises:
            known = event.content == said[-1] != CONTENT_UNKNOWN
            self.duplicates += known
            return not known
        if event.content in said or CONTENT_UNKNOWN in (event.content, *said):
            self.duplicates += 1
        else:
            self.refused.append((offset, CONFLICT))
        return False

    def right_from_the_start(self) -> list[LearnerEvent]:
        """The events since the last erasure, as a log has them in which nothing had to be changed."""
        events: list[LearnerEvent] = []
        for fingerprint, event in self._kept.items():
            response = self._responses.get(fingerprint)
            if isinstance(event, CorrectionEvent) or (isinstance(event, AssessmentEvent) and response == VOIDED):
                # It moves nothing, but there is a learner.
                events.append(PreferenceEvent(fingerprint, None, None, None, 0))
            elif isinstance(event, AssessmentEvent) and response is not None:
                events.append(event._replace(response=response))
            else:
                events.append(event)
        return events


def expected_of(log: Log) -> Expected:
    """What a log means."""
    expected = Expected()
    for offset, event in enumerate(log):
        expected.note(offset, event)
    return expected


def check(logs: Sequence[tuple[int, Log]], *, short: bool) -> None:
    """Fold logs in every way.

    Args:
        logs: each with the seed of its batches and offsets.
        short: with a short journal and window.

    Raises:
        FoldError: when ways differ; its first argument is the number of the log in `logs`.
    """
    with limits(short=short):
        draws = [random.Random(seed) for seed, _ in logs]
        live = _folded([list(enumerate(log)) for _, log in logs])
        batched = _in_batches([log for _, log in logs], draws)
        known = [_known(log, len(log)) for _, log in logs]
        replayed = _folded([list(enumerate(log)) for _, log in logs], known)
        partly = [_known(log, draw.randrange(len(log) + 1)) for draw, (_, log) in zip(draws, logs, strict=True)]
        replayed_partly = _folded([list(enumerate(log)) for _, log in logs], partly)
        expected = [] if short else [expected_of(log) for _, log in logs]
        plain = _folded([list(enumerate(one.right_from_the_start())) for one in expected])
        for number, (_, log) in enumerate(logs):
            _compare(number, "in batches", _outcome(live[number]), batched[number])
            refused = {refusal.code for refusal in live[number].refused}
            if len(log) != live[number].applied + live[number].duplicates + len(live[number].refused):
                raise FoldError(number, "an event was lost or counted twice")
            if not refused & RESOLVED_BY_REPLAY:
                _compare(number, "replayed", _outcome(live[number]), _outcome(replayed[number]))
                _compare(number, "partly known", _outcome(live[number]), _outcome(replayed_partly[number]))
                if not short and len(log) <= _PLAIN_EVENTS:
                    one = expected[number]
                    _compare(
                        number,
                        "as defined",
                        (live[number].duplicates, [tuple(refusal[:2]) for refusal in live[number].refused]),
                        (one.duplicates, one.refused),
                    )
                    _compare(number, "right from the start", _shown(live[number].stored), _shown(plain[number].stored))
            if number % 8 == 0:
                again = _FOLD.fold_again("tenant", live[number].stored)
                _compare(number, "folded again from its journal", _content(live[number].stored), _content(again))


def failing(seeds: Sequence[int]) -> tuple[list[LearnerEvent], str] | None:
    """The shortest log that one of the seeds leads to and that is not folded as it should be, and why; None: none."""
    for short in (False, True):
        numbers = [seed for seed in seeds if seed % 2 == short]
        for first in range(0, len(numbers), AT_ONCE):
            some = [(seed, log_of(seed)) for seed in numbers[first : first + AT_ONCE]]
            try:
                check(some, short=short)
            except FoldError as error:
                seed, log = some[error.args[0]]
                return _shortest(seed, log, short=short)
    return None


def _shortest(seed: int, log: list[LearnerEvent], *, short: bool) -> tuple[list[LearnerEvent], str]:
    reason = ""
    place = len(log)
    while place >= 0:
        shorter = log[:place] + log[place + 1 :] if place < len(log) else log
        try:
            for batches in range(seed, seed + 4):
                check([(batches, shorter)], short=short)
        except FoldError as error:
            reason, log = str(error.args[1]), shorter
            place = min(place, len(log))
        place -= 1
    return log, f"{reason}{' (short journal and window)' if short else ''}"


def _known(log: Log, end: int) -> LearnerCorrections:
    known = LearnerCorrections()
    for offset, event in enumerate(log[:end]):
        known.note(offset, event)
    known.finish()
    return known


def _folded(
    logs: Sequence[list[tuple[int, LearnerEvent]]],
    known: Sequence[LearnerCorrections] | None = None,
    stored: Sequence[LearnerRecord] | None = None,
) -> list[FoldedLearner]:
    return _FOLD.fold(
        [
            LearnerEvents(
                "tenant",
                NEW_LEARNER if stored is None else stored[number],
                log,
                0,
                NOTHING_KNOWN if known is None else known[number],
            )
            for number, log in enumerate(logs)
        ]
    )


def _in_batches(logs: Sequence[Log], draws: Sequence[random.Random]) -> list[object]:
    cuts = [sorted(draw.randrange(len(log) + 1) for _ in range(2)) for draw, log in zip(draws, logs, strict=True)]
    stored = [NEW_LEARNER] * len(logs)
    parts: list[list[FoldedLearner]] = [[] for _ in logs]
    for batch in range(3):
        events = []
        for log, (one, other) in zip(logs, cuts, strict=True):
            start, end = ((0, one), (one, other), (other, len(log)))[batch]
            events.append(list(enumerate(log))[start:end])
        for number, folded in enumerate(_folded(events, stored=stored)):
            parts[number].append(folded)
        stored = [part[-1].stored for part in parts]
    return [
        (
            _content(of_one[-1].stored),
            sum(part.applied for part in of_one),
            sum(part.duplicates for part in of_one),
            [tuple(refusal[:2]) for part in of_one for refusal in part.refused],
        )
        for of_one in parts
    ]


def _outcome(folded: FoldedLearner) -> object:
    refused = [tuple(refusal[:2]) for refusal in folded.refused]
    return _content(folded.stored), folded.applied, folded.duplicates, refused


def _content(stored: LearnerRecord) -> tuple[bytes, ...]:
    state = b"" if stored.state is None else encode_state(stored.state)
    return state, encode_journal(stored.journal), stored.checkpoint, stored.seen, stored.contents


def _shown(stored: LearnerRecord) -> object:
    """Everything that answers read, except the number of applied events and skills that were only met."""
    if stored.state is None:
        return None
    state = decode_state(encode_state(stored.state))
    skills = {
        name: record.tobytes()
        for name, record in zip(state.skill_names, state.skill_records, strict=True)
        if record["attempts"]
    }
    numbers = (state.mean, state.variance, state.responses, state.last_at_s)
    return numbers, skills, state.resources, state.dismissals, state.preferences


def _compare(number: int, way: str, one: object, other: object) -> None:
    if one != other:
        raise FoldError(number, f"{way}: {other}\ninstead of: {one}")


def describe(log: Iterable[LearnerEvent], print_line: Callable[[str], str] = str) -> str:
    """The events of a log, one a line."""
    return "\n".join(print_line(f"{offset:4} {event}") for offset, event in enumerate(log))
