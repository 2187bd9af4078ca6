"""`cairn evaluate closed-loop`: policies decided by Cairn's answers, measures, checks and the command."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from services.recommender.cli.evaluate import app
from services.recommender.domain.learner.batch import LearnerEvents
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.record import NEW_LEARNER
from services.recommender.domain.learner.state import decode_state, encode_state
from services.recommender.evaluation.closed_loop import answers, outcomes, run
from services.recommender.evaluation.closed_loop.answers import SERVED, TENANT, Answers, need_only, store, train
from services.recommender.evaluation.closed_loop.classrooms import draw_classrooms, draw_pupils
from services.recommender.evaluation.closed_loop.course import draw_course
from services.recommender.evaluation.closed_loop.learners import GuessingLearner, PrerequisiteLearner
from services.recommender.evaluation.closed_loop.outcomes import classroom_draws, evaluation_of
from services.recommender.evaluation.closed_loop.run import POLICIES, Outcome, RunSettings, Simulation, simulate
from services.recommender.evaluation.results import from_json
from services.recommender.settings import TenantRanking
from tests.component.test_recommender_server import server

__all__ = ["server"]

SMALL = RunSettings(learners=10, steps=4, seed=5, cohort_steps=12)
COURSE = draw_course(5)


@pytest.fixture(scope="module")
def simulation():
    return simulate(PrerequisiteLearner, SMALL)


def test_every_policy_has_the_same_learners_and_steps(simulation):
    assert tuple(simulation.outcomes) == POLICIES
    assert simulation.classroom.tolist() == list(range(10))
    for outcome in simulation.outcomes.values():
        assert len(outcome.gained) == SMALL.learners
        assert (outcome.sat_out == 0).all()
        # The shortest resource takes 7 minutes, the longest 12.
        assert (outcome.hours >= 4 * 7 / 60 - 1e-9).all()
        assert (outcome.hours <= 4 * 12 / 60 + 1e-9).all()


def test_the_same_seed_gives_the_same_run_and_another_one_another(simulation):
    again, other = simulate(PrerequisiteLearner, SMALL), simulate(PrerequisiteLearner, replace(SMALL, seed=6))
    for policy in POLICIES:
        assert again.outcomes[policy].gained.tolist() == simulation.outcomes[policy].gained.tolist()
        assert other.outcomes[policy].gained.tolist() != simulation.outcomes[policy].gained.tolist()


def test_the_steps_of_the_progress_are_reported_in_order():
    steps = []
    simulate(GuessingLearner, SMALL, steps.append)
    assert steps == ["an earlier cohort", "training on it", *POLICIES]
    assert len(steps) == run.STEPS_OF_PROGRESS


def test_the_served_default_is_the_policy_of_a_tenant_without_settings():
    assert SERVED(TENANT) == TenantRanking().policy


@pytest.mark.parametrize("trained", [False, True])
async def test_the_served_policy_takes_the_first_resource_that_a_server_answers_with(
    server, monkeypatch, tmp_path, trained
):
    monkeypatch.setattr(answers, "TENANT", "riverbend")
    learners, events = some_work(steps=42 if trained else 8)
    learners = [replace(each, learner_id=server.pseudonym(each.learner_id)) for each in learners]
    events = {server.pseudonym(learner): of for learner, of in events.items()}
    bundles = await asyncio.to_thread(train, events, str(tmp_path), 1) if trained else store(str(tmp_path))
    policy = await asyncio.to_thread(Answers(COURSE.catalog(), bundles).policy, SERVED)
    for learner, new in events.items():
        for one in new:
            # One event at a time: batches make no difference.
            policy.observe({learner: [one]})
    await serve(server, bundles)
    fold = LearnerFold(server.active_models.epoch.parameters)
    for number, learner in enumerate(learners):
        folded = fold.fold([LearnerEvents("riverbend", NEW_LEARNER, events[learner.learner_id])])[0].stored
        assert folded.state is not None
        server.store(decode_state(encode_state(folded.state)), learner=f"learner-{number:05d}")
        server.now = datetime.fromtimestamp(learner.now_s, UTC)
        reply = await server.recommend(f"learner-{number:05d}")
        assert COURSE.resource_ids[policy.choose(learner)] == reply.recommendations[0].resource_id
        assert (reply.provenance.bundle != "") == trained


async def serve(server, bundles):
    """Let the server answer with the course and the newest bundle, if there is one."""
    server.catalog._columns["riverbend"] = COURSE.catalog()
    newest = bundles.latest_id()
    if newest is not None:
        bundle = server.bundles.bundles[newest] = bundles.load(newest)
        server.states.epoch = replace(
            server.states.epoch, parameters_id=bundle.parameters.parameters_id, parameters_bundle=newest
        )
    await server.active_models.refresh_bundle()
    await server.active_models.refresh_epoch()


def some_work(steps):
    learners = draw_pupils(COURSE, draw_classrooms(COURSE, 1, [1]), PrerequisiteLearner, 5, 1_788_134_400, [2])
    return learners, run._as_assigned(COURSE, learners, steps, [3])


def test_a_bundle_is_trained_on_the_cohort_and_serves(tmp_path):
    learners, events = some_work(steps=42)
    bundles = train(events, str(tmp_path), seed=1)
    newest = bundles.latest_id()
    assert newest is not None
    parameters = bundles.load(newest).parameters.for_tenant(TENANT)
    answered = {event.item for of in events.values() for _, event in of if hasattr(event, "item")}
    of_resources = {event.resource for of in events.values() for _, event in of if hasattr(event, "item")}
    assert set(parameters.items) == answered | of_resources
    trained = Answers(COURSE.catalog(), bundles)
    assert not trained.learned
    policy = trained.policy(need_only)
    policy.observe(events)
    assert policy._epoch.meta.parameters_bundle == newest
    assert 0 <= policy.choose(learners[0]) < len(COURSE)


def outcome(gained, hours=1.0, failures=1.0):
    size = len(gained)
    return Outcome(np.array(gained), np.full(size, hours), np.full(size, failures), np.zeros(size))


def fake_simulation(name, *, served, random=1.0, oracle=5.0, other=2.0):
    """Four learners in two classrooms; each policy gives all of them the same."""
    # The informed policy is a reference: the default need not be better.
    gains = dict.fromkeys(POLICIES, other) | {"informed": 4.9, "cairn": served, "random": random, "oracle": oracle}
    return Simulation(name, np.array([0, 1, 0, 1]), {policy: outcome([gain] * 4) for policy, gain in gains.items()})


def test_the_share_of_the_oracle_is_0_for_random_1_for_the_oracle_and_linear_in_between():
    found = evaluation_of([fake_simulation("one", served=4.0), fake_simulation("two", served=2.0)], SMALL)
    share = {policy: measures["share_of_oracle"].mean for policy, measures in found.models.items()}
    # (4 - 1) / (5 - 1) and (2 - 1) / (5 - 1), and their mean.
    assert found.slices["simulated one"]["cairn"]["share_of_oracle"].mean == pytest.approx(0.75)
    assert found.slices["simulated two"]["cairn"]["share_of_oracle"].mean == pytest.approx(0.25)
    assert share["cairn"] == pytest.approx(0.5)
    assert (share["random"], share["oracle"]) == (0.0, 1.0)
    assert found.differences["popular"]["share_of_oracle"].mean == pytest.approx(0.5 - 0.25)


def test_mastery_is_measured_per_hour_and_per_failure_over_all_learners_together():
    uneven = Outcome(np.array([1.0, 3.0]), np.array([1.0, 3.0]), np.array([0.0, 8.0]), np.array([0.0, 6.0]))
    measures = outcomes._of_outcome(uneven, classroom_draws(np.array([0, 1]), draws=10, seed=1))
    values = {name: found[0] for name, found in measures.items()}
    assert values == {
        "mastery_per_hour": 1.0,
        "mastery_per_failure": 0.5,
        "mastery_gained": 2.0,
        "failures": 4.0,
        "steps_sat_out": 3.0,
    }


@pytest.mark.parametrize(
    ("served", "other", "holds"),
    [
        (2.0, 1.5, [False, False, True]),
        (3.39, 2.0, [False, False, True]),
        (3.4, 2.0, [True, False, True]),
        (4.2, 2.0, [True, True, True]),
        (3.5, 3.6, [True, False, False]),
    ],
)
def test_the_checks_say_whether_the_default_reaches_its_share_and_is_the_best(served, other, holds):
    found = evaluation_of([fake_simulation("one", served=served, other=other)], SMALL)
    assert [check.holds for check in found.checks if not check.required] == holds


@pytest.mark.parametrize(("oracle", "holds"), [(1.99, False), (2.0, True)])
def test_the_oracle_must_gain_twice_what_random_does_in_every_way_of_learning(oracle, holds):
    found = evaluation_of(
        [fake_simulation("one", served=1.0), fake_simulation("two", served=1.0, oracle=oracle)], SMALL
    )
    required = [check for check in found.checks if check.required]
    assert [check.holds for check in required] == [True, holds]
    assert "(two)" in required[1].claim


def test_an_oracle_that_loses_mastery_is_no_oracle():
    found = evaluation_of([fake_simulation("one", served=1.0, random=-3.0, oracle=-1.0)], SMALL)
    assert not found.checks[0].holds


def test_resamples_draw_classrooms_and_then_learners_of_them():
    classroom = np.array([0, 0, 0, 1, 2, 2])
    weights = classroom_draws(classroom, draws=300, seed=1).weights
    assert weights[0].tolist() == [1.0] * 6
    sizes = np.bincount(classroom)
    times = np.array([[row[classroom == number].sum() for number in range(3)] for row in weights[1:]]) / sizes
    # Each classroom is drawn a whole number of times, three in all, and its learners with replacement.
    assert (times == times.round()).all()
    assert (times.sum(axis=1) == 3).all()
    assert {0.0, 1.0, 2.0, 3.0} == set(times[:, 0].tolist())
    assert (weights[1:, :3] != times[:, [0]]).any()


def test_everything_is_labelled_as_simulated_and_is_read_back_from_json(monkeypatch, tmp_path):
    result, found = run_command(monkeypatch, tmp_path, oracle=5.0)
    assert result.exit_code == 0, result.output
    assert found.protocol == "closed-loop/simulated"
    assert found.data.startswith("SIMULATED learners")
    assert all("simulated" in name for name in found.slices)
    assert "no evidence that any policy helps real learners" in found.notes[0]
    assert "SIMULATED" in result.stdout
    assert "yes: the oracle gains at least 2 times what random does (forgetting): 5.000 and 1.000" in result.stdout
    assert "NO: cairn reaches 0.6 of the oracle's gain over random: 0.50" in result.stdout
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Checks</h2>" in page
    assert "SIMULATED" in page


def test_the_command_fails_when_the_simulation_cannot_tell_policies_apart(monkeypatch, tmp_path):
    result, found = run_command(monkeypatch, tmp_path, oracle=1.5)
    assert result.exit_code == 1
    assert (
        "it does not hold that the oracle gains at least 2 times what random does (guessing): 1.500 and"
        in result.stderr
    )
    # The figures are written nevertheless.
    assert not found.checks[0].holds


def run_command(monkeypatch, tmp_path, *, oracle):
    """Run the command with outcomes that are given; return its result and the evaluation of its JSON."""
    sizes = []

    def simulate(kind, settings, advance):
        sizes.append(settings)
        advance("a step")
        return fake_simulation(kind.name, served=3.0, oracle=oracle)

    monkeypatch.setattr(outcomes, "simulate", simulate)
    arguments = ["closed-loop", "--learners", "12", "--steps", "3", "--seed", "9"]
    files = ["--json", str(tmp_path / "report.json"), "--html", str(tmp_path / "report.html")]
    result = CliRunner().invoke(app, [*arguments, *files])
    assert sizes == [RunSettings(learners=12, steps=3, seed=9)] * 4
    return result, from_json((tmp_path / "report.json").read_bytes())


@pytest.mark.parametrize("arguments", [("--learners", "9"), ("--steps", "0"), ("--seed", "-1")])
def test_sizes_that_make_no_sense_are_refused(arguments):
    result = CliRunner().invoke(app, ["closed-loop", *arguments])
    assert result.exit_code == 2


def test_a_small_run_says_that_it_had_no_trees(simulation):
    found = evaluation_of([simulation], SMALL)
    assert any("without trees: prerequisites" in note for note in found.notes)
    assert "share" in orjson.dumps(found.as_values()).decode()
