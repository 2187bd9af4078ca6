"""What a file holds is counted as its rows pass."""

from __future__ import annotations

from services.ingest.application.file_figures import CatalogTags, FileFigures
from services.ingest.application.ports import LeftOutRow, Row, UnreadableRow
from services.ingest.cli.load_figures import figures_for_machines, figures_for_people
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant, Submission

NOT_ASKED = CatalogTags(not_asked="set CAIRN_TARGET_CATALOG")


def counted(*submissions, catalog=NOT_ASKED):
    figures = FileFigures(catalog)
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


def test_skills_and_acts_are_compared_with_the_catalog_as_ingest_stamps_them():
    figures = counted(
        response(skills=("add", " caf\u00e9 ", "divide")),
        response(skills=("divide",)),
        response(item="q1", skills=()),
        Submission("ada", "s", Assessment("q9", "quiz", outcome=True)),
        Submission("ada", "s", Assessment("q9", "other", outcome=True)),
        Submission("ada", "s", Assessment("", " other", outcome=True)),
        Submission("ada", "s", Interaction("q9", InteractionKind.OPENED)),
        catalog=CatalogTags(frozenset({"add", "caf\u00e9"}), frozenset({"q1", "quiz"})),
    )
    assert figures.unknown_skills == {"divide": 2}
    assert (figures.without_skills, figures.untagged) == (4, 2)
    assert figures.untagged_items == {"q9": 1, " other": 1}
    assert figures_for_machines(figures)["catalog"] == {"unknown_skills": 1, "untagged": 2, "untagged_items": 2}
    rows = {name: (count, remark) for name, count, remark in figures_for_people(figures, "UTC")}
    assert rows["unknown skills"] == ("1", "most often divide (2)")
    assert rows["without a skill"][1].startswith("acts, of which 2 get the skills that the catalog has")
    assert rows["untagged"][0] == "2"
    assert "of 2 acts, which teach nothing until the catalog tags them; most often q9 (1)" in rows["untagged"][1]
    assert "catalog" not in rows


def test_where_the_catalog_was_not_asked_nothing_is_said_to_be_unknown():
    figures = counted(response(skills=("divide",)), response(skills=()))
    rows = {name: (count, remark) for name, count, remark in figures_for_people(figures, "UTC")}
    assert rows["catalog"] == ("", "not asked: set CAIRN_TARGET_CATALOG")
    assert not rows.keys() & {"unknown skills", "untagged"}


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
    figures = FileFigures(NOT_ASKED)
    rows = [UnreadableRow(2, (), None), LeftOutRow(3, "without an outcome")]
    assert list(figures.watch(rows)) == rows
    assert figures_for_machines(figures) == {
        "learners": 0,
        "acts": 0,
        "skills": 0,
        "without_skills": 0,
        "catalog": {"not_asked": "set CAIRN_TARGET_CATALOG"},
        "first_at": None,
        "last_at": None,
        "undated": 0,
        "identical": 0,
        "differing": 0,
    }
