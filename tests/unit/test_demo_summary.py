"""The figures at the end of the demo, and their layout."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
from rich.console import Console

from cairn.v1 import recommender_pb2
from deploy.local.learning import Worked
from deploy.local.live import percentile
from deploy.local.summary import Latency, Summary, check_writable
from deploy.local.terminal import Story
from deploy.processes import BadInputError

SUMMARY = Summary(
    events_read=12,
    accepted=11,
    duplicates=1,
    rejected=1,
    applied=9,
    dlt=1,
    learners=3,
    resources=4,
    stages_s={"start": 1.5, "load": 0.5},
    event_to_recommendation_ms=Latency(p50=10.0, p99=20.0),
    state_digest="a" * 64,
    replay_digest="a" * 64,
    mastered_share=0.25,
)


def told(tell):
    written = io.StringIO()
    tell(Story(Console(file=written, width=80, highlight=False)))
    return written.getvalue()


def test_figures_that_add_up_have_no_problems():
    assert SUMMARY.problems == ()


@pytest.mark.parametrize("change", [{"applied": 8}, {"applied": 10}, {"accepted": 12}])
def test_an_event_lost_or_counted_twice_is_a_problem(change):
    (problem,) = replace(SUMMARY, **change).problems

    assert "lost or counted twice" in problem


def test_digests_that_differ_are_a_problem_that_names_both():
    (problem,) = replace(SUMMARY, replay_digest="b" * 64).problems

    assert "a" * 64 in problem
    assert "b" * 64 in problem


def test_the_json_has_every_figure():
    assert orjson.loads(SUMMARY.as_json()) == {
        "events_read": 12,
        "accepted": 11,
        "duplicates": 1,
        "rejected": 1,
        "applied": 9,
        "dlt": 1,
        "learners": 3,
        "resources": 4,
        "stages_s": {"start": 1.5, "load": 0.5},
        "event_to_recommendation_ms": {"p50": 10.0, "p99": 20.0},
        "state_digest": "a" * 64,
        "replay_digest": "a" * 64,
        "mastered_share": 0.25,
    }


def test_a_file_that_cannot_be_written_is_reported_before_the_run(tmp_path):
    with pytest.raises(BadInputError, match="cannot be written"):
        check_writable(tmp_path / "no" / "figures.json")
    with pytest.raises(BadInputError, match="cannot be written"):
        check_writable(tmp_path)
    check_writable(tmp_path / "figures.json")


@pytest.mark.parametrize(("share", "expected"), [(0.5, 100), (0.99, 198), (1.0, 200), (0.001, 1)])
def test_percentiles_are_values_that_were_measured(share, expected):
    assert percentile(list(range(200, 0, -1)), share) == expected


def test_output_to_a_pipe_has_eighty_columns_and_no_colours():
    reply = recommender_pb2.RecommendResponse(
        recommendations=[
            recommender_pb2.Recommendation(
                title="A title that goes on and on, well beyond what a column of a terminal has room for",
                skill="Probability of Two Distinct Events",
                step=recommender_pb2.STEP_TEACH,
                reasons=[recommender_pb2.Reason(text="A reason with the learner's own numbers in it. " * 4)],
            )
        ],
        degraded=[recommender_pb2.DEGRADATION_NO_BUNDLE],
    )
    mastery = recommender_pb2.GetLearnerResponse(
        skills=[
            recommender_pb2.SkillMastery(
                skill="s" * 100, probability=0.7, low=0.1, high=1.0, responses=1000, mastered=True
            )
        ]
    )

    def tell(story):
        story.recommendations("Recommended", reply)
        story.mastery(["s" * 100], mastery, mastery)
        story.reassess([("w" * 60, "m" * 60)])
        story.recommended(reply.recommendations[0], [reply.recommendations[0]] * 3)
        story.reassessed("m" * 60, "s" * 100)
        story.worked(Worked(datetime(2026, 3, 16, tzinfo=UTC), [], 8, 8), 99_999.9, mastery.skills[0])
        story.command(["catalog", "import", "--skills", "x" * 40, "--resources", "y" * 40])
        story.note("note " * 40)
        story.done("done " * 40)
        story.summary(SUMMARY)

    text = told(tell)

    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "made with no fitted models yet" in text
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_what_is_followed_is_shown_with_its_reasons_and_with_what_the_list_has_before_it():
    followed, before = (
        recommender_pb2.Recommendation(
            title=title, skill=skill, step=step, reasons=[recommender_pb2.Reason(text=f"why {title}")]
        )
        for title, skill, step in [
            ("A lesson", "3.MD.C.7", recommender_pb2.STEP_TEACH),
            ("A game", "3.NF.A.1", recommender_pb2.STEP_PRACTISE),
        ]
    )

    text = told(lambda story: story.recommended(followed, [before]))

    assert [line.split() for line in text.splitlines() if line] == [
        ["→", "A", "lesson", "learn", "3.MD.C.7"],
        ["why", "A", "lesson"],
        ["before", "it", "in", "the", "list:", "A", "game", "(3.NF.A.1)"],
    ]


@pytest.mark.parametrize(
    ("answers", "mastered", "shown"),
    [
        (8, True, "Mon 16 Mar  7 of 8 right  chance 0.83  mastered   new list after   20.5 ms"),
        (8, False, "Mon 16 Mar  7 of 8 right  chance 0.83             new list after   20.5 ms"),
        (0, False, "Mon 16 Mar  completed     chance 0.83             new list after   20.5 ms"),
    ],
)
def test_work_is_shown_with_its_day_what_came_of_it_and_the_time_to_the_new_list(answers, mastered, shown):
    worked = Worked(datetime(2026, 3, 16, 9, tzinfo=UTC), [], right=7 if answers else 0, answers=answers)
    mastery = recommender_pb2.SkillMastery(skill="s", probability=0.831, mastered=mastered)

    assert told(lambda story: story.worked(worked, 20.49, mastery)).strip() == shown


def test_commands_to_explore_on_are_each_on_one_line_however_long():
    command = f".venv/bin/cairn class {'d' * 90}.csv"

    assert f"\n  {command}\n" in told(lambda story: story.explore("Explore on", [command]))


def test_a_command_is_shown_as_it_can_be_typed():
    text = told(lambda story: story.command(["ingest", "load", "f" * 60, "--format", "ndjson"]))

    joined = text.replace("\\\n", " ").split()
    assert joined == ["$", "cairn", "ingest", "load", "f" * 60, "--format", "ndjson"]


def test_the_summary_says_when_the_digests_differ():
    text = told(lambda story: story.summary(replace(SUMMARY, replay_digest="b" * 64)))

    assert "DIFFERENT" in text
