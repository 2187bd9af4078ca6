"""The input of a demo: a catalog, events to load, and responses that are held back to be played live."""

from __future__ import annotations

import csv
import gzip
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from deploy.local.district import SOURCE, ClassAssessment, District, DistrictSettings, SimulatedResponse, main_skill
from deploy.local.learning import SimulatedLearning, submission_of
from deploy.processes import BadInputError
from services.catalog.formats.jsonl import read_resources, read_skills
from services.common.tables.lines import FileUnusableError
from services.ingest.application.ports import FileRow, Row
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.submission import Submission
from services.ingest.formats import Format, read_events
from services.ingest.formats.catalog_of_log import catalog_of_rows

SAMPLE = Path(os.path.relpath(Path(__file__).parent / "sample"))
LOG_FILE = "interactions.csv.gz"

_LIVE_RESPONSES = 10
_LIVE_RESPONSES_IN_ALL = 200
_ITEMS_OF_ASSESSMENT = 8
_SHORT_LOG = 30
_LONG_LOG = 200


@dataclass(frozen=True, slots=True)
class LivePlay:
    """One learner's live responses, sent after everything else was loaded.

    Attributes:
        learner_id: the platform's id of the learner.
        about: one line that describes the learner and the responses.
        grades: grades to recommend for; empty: any grade.
        submissions: their responses, in order.
    """

    learner_id: str
    about: str
    grades: Sequence[str]
    submissions: Sequence[Submission]


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that a demo sends into the system.

    Attributes:
        title: one line that describes it.
        skills: file of skills to import.
        resources: file of resources to import.
        events: file of events to load.
        events_format: its format.
        loaded: number of responses in `events`.
        learners: learners' ids, sorted.
        live: the learner whose next assessment is shown.
        others: more learners who answer live, so that enough responses are timed.
        as_of: the time to recommend for; None: now.
        assessment: one line about the assessment that they take; empty in a real log.
        learning: how the learner shown works on what is recommended afterwards; None in a real log.
    """

    title: str
    skills: Path
    resources: Path
    events: Path
    events_format: Format
    loaded: int
    learners: Sequence[str]
    live: LivePlay
    others: Sequence[LivePlay]
    as_of: datetime | None
    assessment: str = ""
    learning: SimulatedLearning | None = None

    @property
    def roster(self) -> Sequence[str]:
        """The learners who answer live, sorted: a class in a simulated district."""
        return sorted(play.learner_id for play in (self.live, *self.others))


def simulated_district(settings: DistrictSettings, classroom: str, directory: Path) -> Material:
    """A district that uses the sample catalog, and one of its classes that takes an assessment.

    The events before the assessment are written to `directory` as canonical NDJSON.
    """
    skills, resources = SAMPLE / "skills.jsonl", SAMPLE / "resources.jsonl"
    catalog = read_resources(resources).records
    skills_of = {resource.id: main_skill(resource) for resource in catalog if resource.assesses}
    district = District(settings, read_skills(skills).records, catalog)
    history = district.history()
    events = directory / "district.ndjson"
    with events.open("wb") as file:
        file.writelines(_ndjson(response) for response in history)
    assessment = district.class_assessment(classroom, _ITEMS_OF_ASSESSMENT)
    skill = skills_of[assessment.resource.id]
    practised = {response.learner_id for response in history if skills_of[response.resource] == skill}
    shown = _missed_most(assessment, practised)
    plays = {learner: _play(assessment, learner) for learner in assessment.responses}
    return Material(
        title=f"a simulated district: {settings.learners} learners in {settings.classes} classes, seed {settings.seed}",
        skills=skills,
        resources=resources,
        events=events,
        events_format=Format.NDJSON,
        loaded=len(history),
        learners=sorted({response.learner_id for response in history} | set(plays)),
        live=plays.pop(shown),
        others=list(plays.values()),
        as_of=settings.ends_at + timedelta(hours=1),
        assessment=f"class {assessment.name} takes the assessment {assessment.resource.title!r}",
        learning=SimulatedLearning(district, shown, skill, {resource.id: resource for resource in catalog}),
    )


def _play(assessment: ClassAssessment, learner_id: str) -> LivePlay:
    grade = assessment.grade
    grades = [grade] if not grade.isdecimal() else [str(int(grade) - 1), grade]
    submissions = [submission_of(response) for response in assessment.responses[learner_id]]
    return LivePlay(learner_id, f"{learner_id} answers {len(submissions)} items", grades, submissions)


def _missed_most(assessment: ClassAssessment, practised: AbstractSet[str]) -> str:
    """The learner with the fewest right answers, if possible one to whom the skill was new; of equal ones the first."""

    def order(learner_id: str) -> tuple[bool, int, str]:
        right = sum(response.correct for response in assessment.responses[learner_id])
        return learner_id in practised, right, learner_id

    return min(assessment.responses, key=order)


def check_log(dataset: Path) -> None:
    """Check before a long run that a folder has a log.

    Raises:
        BadInputError: when it has none.
    """
    if not (dataset / LOG_FILE).is_file():
        raise BadInputError(
            f"there is no {LOG_FILE} in {dataset}: name the folder that holds it, for example "
            "make demo DATASET=../shared/data/assistments2009"
        )


def real_log(dataset: Path, directory: Path, observe: Callable[[int], None]) -> Material:
    """An ASSISTments log, with its problems as the catalog.

    The last ten responses of one learner, and the last one of some others, are held back to be played live.

    Args:
        dataset: the folder; only `interactions.csv.gz` is read from it.
        directory: where to write the catalog, and the log without the responses held back.
        observe: progress callback, called with the number of responses read.

    Raises:
        BadInputError: when the log cannot be read, or is too short.
    """
    log = dataset / LOG_FILE
    skills, resources, events = (directory / name for name in ("skills.jsonl", "resources.jsonl", "events.csv.gz"))
    read = _LastResponses(observe)
    try:
        _write_catalog(read.watch(read_events(log, Format.ASSISTMENTS)), skills, resources)
    except FileUnusableError as error:
        raise BadInputError(str(error)) from error
    live, others = read.choose(log)
    held_back = [live, *others]
    _write_without(
        {_row_key(row) for held in held_back for response in held.rows for row in response.original}, log, events
    )
    return Material(
        title=f"the log {log}",
        skills=skills,
        resources=resources,
        events=events,
        events_format=Format.ASSISTMENTS,
        loaded=read.responses - sum(len(held.rows) for held in held_back),
        learners=sorted(read.counts),
        live=live.play(),
        others=[held.play() for held in others],
        as_of=None,
    )


@dataclass(frozen=True, slots=True)
class _HeldBack:
    learner_id: str
    about: str
    rows: Sequence[Any]

    def play(self) -> LivePlay:
        """The rows as submissions."""
        return LivePlay(self.learner_id, self.about, (), [row.submission for row in self.rows])


class _LastResponses:
    """Remembers each learner's last responses while a log is read."""

    def __init__(self, observe: Callable[[int], None]) -> None:
        self.responses = 0
        self.counts: dict[str, int] = {}
        self._last: dict[str, deque[Row]] = {}
        self._observe = observe

    def watch(self, rows: Iterable[FileRow]) -> Iterator[FileRow]:
        """The rows, remembered as they pass."""
        for row in rows:
            if isinstance(row, Row):
                learner = row.submission.learner_id
                self.responses += 1
                self.counts[learner] = self.counts.get(learner, 0) + 1
                self._last.setdefault(learner, deque(maxlen=_LIVE_RESPONSES)).append(row)
                if self.responses % 5_000 == 0:
                    self._observe(self.responses)
            yield row

    def choose(self, log: Path) -> tuple[_HeldBack, list[_HeldBack]]:
        """Choose the learners who answer live by a fixed rule, so that every run shows the same learner.

        The learner shown has a log of medium length and ends with work on few skills, with some success.
        """
        eligible = [learner for learner, count in self.counts.items() if _SHORT_LOG <= count <= _LONG_LOG]
        if len(eligible) < 2:
            raise BadInputError(
                f"{log} has fewer than two learners with {_SHORT_LOG} to {_LONG_LOG} responses: "
                "the demo needs one to show and some to time"
            )
        shown = min(eligible, key=self._unsuited)
        candidates = sorted(learner for learner in self.counts if learner != shown and self.counts[learner] > 1)
        others = candidates[:: max(1, len(candidates) // (_LIVE_RESPONSES_IN_ALL - _LIVE_RESPONSES))]
        others = others[: _LIVE_RESPONSES_IN_ALL - _LIVE_RESPONSES]
        about = (
            f"learner {shown}, {self.counts[shown] - _LIVE_RESPONSES} responses so far, answers {_LIVE_RESPONSES} more"
        )
        return (
            _HeldBack(shown, about, list(self._last[shown])),
            [_HeldBack(learner, f"learner {learner}", [self._last[learner][-1]]) for learner in others],
        )

    def _unsuited(self, learner: str) -> tuple[int, int, str]:
        bodies = [row.submission.body for row in self._last[learner]]
        assessments = [body for body in bodies if isinstance(body, Assessment)]
        skills = {skill for assessment in assessments for skill in assessment.skills}
        successes = sum(assessment.outcome is True for assessment in assessments)
        return len(skills) or _LIVE_RESPONSES, abs(successes - 7), learner


def _write_catalog(rows: Iterator[FileRow], skills: Path, resources: Path) -> None:
    with skills.open("wb") as skill_file, resources.open("wb") as resource_file:
        for kind, line in catalog_of_rows(rows, framework="ASSISTments"):
            (skill_file if kind == "skill" else resource_file).write(orjson.dumps(line) + b"\n")


def _row_key(row: dict[str, str]) -> tuple[str, str]:
    return row["user_id"], row["seq"]


def _write_without(held_back: set[tuple[str, str]], log: Path, events: Path) -> None:
    with (
        gzip.open(log, "rt", newline="", encoding="utf-8", errors="replace") as complete,
        gzip.open(events, "wt", newline="", encoding="utf-8", compresslevel=1) as rest,
    ):
        rows = csv.DictReader(complete)
        writer = csv.DictWriter(rest, rows.fieldnames or ())
        writer.writeheader()
        writer.writerows(row for row in rows if _row_key(row) not in held_back)


def _ndjson(response: SimulatedResponse) -> bytes:
    event = {
        "event_id": response.event_id,
        "learner_id": response.learner_id,
        "source": SOURCE,
        "occurred_at": response.occurred_at,
        "item": response.item,
        "activity": response.resource,
        "correct": response.correct,
        "duration_ms": response.duration_ms,
    }
    return orjson.dumps(event, option=orjson.OPT_UTC_Z) + b"\n"
