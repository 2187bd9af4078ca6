"""What a file holds is counted as its rows pass."""

from __future__ import annotations

from services.ingest.application.file_figures import FileFigures
from services.ingest.application.ports import LeftOutRow, Row, UnreadableRow
from services.ingest.cli.load_figures import figures_for_machines, figures_for_people
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant, Submission


def counted(*submissions):
    figures = FileFigures()
    rows = [Row(line, submission, None) for line, submission in enumerate(submissions, 2)]
    assert list(figures.watch(rows)) == rows
    return figures


def response(learner="ada", item="q", *, outcome=True, skills=("s",), **fields):
    return Submission(learner, "s", Assessment(item, skills=skills, outcome=outcome), **fields)


def test_learners_skills_and_acts_without_a_skill_are_counted():
    figures = counted(
        response(),
        response("ben", skills=("s", "t")),
        response(" ben ", skills=()),
        Submission("ben", "s", Interaction("video", InteractionKind.OPENED)),
    )
    assert (figures.learners, figures.acts, figures.without_skills) == (2, 4, 1)
    assert figures.skills == {"s": 2, "t": 1}


def test_the_first_and_the_last_time_and_acts_without_one_are_shown_in_the_zone():
    figures = counted(
        response(occurred_at=Instant(1_772_597_167)), response(occurred_at=Instant(1_772_510_767)), response()
    )
    rows = {name: (count, remark) for name, count, remark in figures_for_people(figures, "America/Chicago")}
    assert rows["dates"] == ("", "2026-03-02 22:06 to 2026-03-03 22:06 (America/Chicago)")
    assert rows["without a date"] == ("1", "acts")


def test_repeats_of_an_act_or_an_id_are_identical_or_differ():
    figures = counted(
        response(outcome=Score(1.0, 0.0, 2.0)),
        response(outcome=Score(1.0, 0.0, 2.0)),
        response(outcome=Score(2.0, 0.0, 2.0)),
        response("ben"),
        response(item="other"),
        response(event_id="e1", item="x"),
        response(event_id="e1", item="y"),
        response("ben", event_id="e1", item="x"),
    )
    assert (figures.identical, figures.differing) == (1, 2)


def test_what_is_no_event_is_not_counted():
    figures = FileFigures()
    rows = [UnreadableRow(2, (), None), LeftOutRow(3, "without an outcome")]
    assert list(figures.watch(rows)) == rows
    assert figures_for_machines(figures) == {
        "learners": 0,
        "acts": 0,
        "skills": 0,
        "without_skills": 0,
        "first_at": None,
        "last_at": None,
        "undated": 0,
        "identical": 0,
        "differing": 0,
    }
