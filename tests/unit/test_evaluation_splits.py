"""The data that models are fitted and evaluated on, and the content of lists."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.sparse

from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.domain.training.splits import split_at_time, split_work, tags_of
from services.recommender.evaluation.lists import ListEvaluator, RankingSplit
from services.recommender.evaluation.rankers import Random, Scored, baselines
from services.recommender.evaluation.ranking import evaluate_ranking
from services.recommender.evaluation.splits import split_of
from services.recommender.evaluation.tables import DataUnusableError
from services.recommender.evaluation.tracing import prior_attempts, split_by_learner


def table_of(responses: dict[str, int]):
    """Learners with given numbers of responses to resources r00, r01, ..., alternating between skills s0 and s1."""
    builder = ResponseTableBuilder()
    for learner, count in responses.items():
        for number in range(count):
            builder.append(
                learner=learner,
                item=f"r{number:02}",
                skills=[f"s{number % 2}"],
                response=float(number % 3 > 0),
                resource=f"r{number:02}",
            )
    return builder.build()


def everything_before(responses: dict[str, int]):
    table = table_of(responses)
    return split_work(table, np.ones(len(table), np.bool_), tags_of(table))


def test_learners_with_twenty_responses_are_fitted_on_four_fifths_and_others_on_all():
    split = split_of(table_of({"a": 20, "b": 23, "c": 19}), "test")
    assert np.bincount(split.work.before.learner).tolist() == [16, 18, 19]
    assert np.bincount(split.test.learner, minlength=3).tolist() == [4, 5, 0]
    names = [split.work.positives.resources[number] for number in sorted(split.work.relevant[0])]
    assert names == ["r16", "r17", "r18", "r19"]
    assert set(split.work.relevant) == {0, 1}


def test_data_without_enough_responses_per_learner_are_refused():
    with pytest.raises(DataUnusableError, match=r"2 learners, 20 responses.* needs work on both sides of the split"):
        evaluate_ranking("ranking/test", split_of(table_of({"a": 12, "b": 8}), "2 learners"))


def test_earlier_work_is_not_relevant_later():
    builder = ResponseTableBuilder()
    for number in range(20):
        builder.append(learner="a", item="i", skills=[], response=1.0, resource=f"r{number % 17:02}")
    split = split_of(builder.build(), "test")
    assert [split.work.positives.resources[number] for number in split.work.relevant[0]] == ["r16"]


def test_a_list_never_contains_earlier_work_of_the_learner():
    split = everything_before({"a": 10, "b": 30})
    for ranker in (Random(split, 1), Scored(split, lambda _learner: np.ones(30, np.float32))):
        assert sorted(ranker.ranked(0, 50).tolist()) == list(range(10, 30))
        assert len(ranker.ranked(0, 5)) == 5
        assert ranker.ranked(1, 50).tolist() == []


def test_resources_with_equal_scores_keep_their_order():
    ranker = Scored(everything_before({"a": 1, "b": 30}), lambda _learner: (np.arange(30) == 20).astype(np.float32))
    assert ranker.ranked(0, 4).tolist() == [20, 1, 2, 3]


def test_measures_of_a_list_match_those_computed_by_hand():
    split = split_of(table_of({"a": 20, "z": 40}), "test")
    relevant = sorted(split.work.relevant[0])
    listed = np.array([relevant[0], 30, relevant[1], *range(31, 38)])

    class Fixed:
        def ranked(self, learner, most):
            return listed

    measures = {name: values[0] for name, values in ListEvaluator(split, seed=1).measures(Fixed(), [0])[0].items()}
    ideal = sum(1 / np.log2(place + 2) for place in range(4))
    assert measures["ndcg_at_10"] == pytest.approx((1 + 1 / np.log2(4)) / ideal)
    assert measures["recall_at_10"] == measures["recall_at_50"] == 0.5
    # After the split the learner works on r16 to r19: both skills; r18 (s0) is answered wrongly.
    assert measures["gap_next_at_10"] == 1.0
    assert measures["gap_hit_at_10"] == pytest.approx(sum(number % 2 == 0 for number in listed) / 10)


def test_learners_for_fitting_and_for_evaluation_are_different(tmp_path):
    scipy.sparse.save_npz(tmp_path / "q_mat.npz", scipy.sparse.csr_matrix(np.ones((3, 1))))
    rows = [f"{learner}\t{item}\t0\t1" for learner in range(20) for item in range(3)]
    (tmp_path / "responses.tsv").write_text("\n".join(["user_id\titem_id\ttimestamp\tcorrect", *rows]) + "\n")
    split = split_by_learner(tmp_path)
    train, test = set(split.train.learner.tolist()), set(split.test.learner.tolist())
    assert (len(train), len(test)) == (14, 6)
    assert not train & test


def test_prior_attempts_count_the_learners_earlier_work():
    assert prior_attempts(table_of({"a": 5, "b": 2})).tolist() == [0, 0, 1, 1, 2, 0, 0]


DAY_S = 24 * 3600


def timed(rows) -> ResponseTable:
    """Interactions of (learner, resource, day)."""
    builder = ResponseTableBuilder()
    for learner, resource, day in sorted(rows, key=lambda row: row[2]):
        builder.append(
            learner=learner, item="", skills=[], response=1.0, resource=resource, at_s=1_700_000_000 + int(day * DAY_S)
        )
    return builder.build()


def test_at_a_time_split_nothing_later_is_known_of_anybody():
    # Ten rows, one a day: the split is where the ninth is made.
    rows = [("a", "r1", 0), ("b", "r2", 1), ("a", "r3", 2), ("c", "r1", 3), ("b", "r3", 4), ("c", "r2", 5)]
    rows += [("a", "r2", 6), ("c", "r3", 7), ("b", "r1", 8), ("d", "r1", 9)]
    work = split_at_time(timed(rows), [frozenset()] * 3, graded=False)
    assert work.split_at_s == 1_700_000_000 + 8 * DAY_S
    assert len(work.before) == 8
    assert work.before.at_s.max() < work.split_at_s
    # d has no earlier work, a and c no later.
    assert work.relevant == {1: frozenset({0})}


def test_the_inner_split_of_a_time_split_is_one_too():
    rng = np.random.default_rng(1)
    rows = [(f"l{rng.integers(9)}", f"r{rng.integers(30):02}", day / 7) for day in range(400)]
    work = split_at_time(timed(rows), [frozenset()] * 30, graded=False)
    inner = work.inner(seed=1)
    assert inner.split_at_s == np.sort(work.before.at_s)[256]
    assert inner.before.at_s.max() < inner.split_at_s < work.split_at_s
    assert len(inner.before) == 256
    assert inner.graded is False


def test_resources_of_the_last_week_are_ranked_by_their_learners_then_by_those_of_any_time():
    # In the week of c, which ends on day 20: r5 with two learners, r2 with one, three times, and r1, which is theirs.
    week = [("b", "r1", 14), ("b", "r2", 15), ("b", "r2", 16), ("a", "r5", 16), ("b", "r2", 17), ("b", "r5", 18)]
    # Of those before, r3 has most learners.
    before = [("a", "r3", 1), ("b", "r3", 2), ("c", "r4", 3), ("a", "r0", 12.9)]
    later = [("a", f"s{number}", 21) for number in range(3)]
    table = timed([*week, ("c", "r1", 20), *before, *later])
    work = dataclasses.replace(split_at_time(table, [frozenset()] * 9, graded=False), split_at_s=None)
    ranker = baselines(RankingSplit(work, table, "test"), seed=1)["popular_last_week"]()
    names = work.positives.resources

    def listed(learner: str) -> list[str]:
        return [names[number] for number in ranker.ranked(table.learners.index(learner), 6)]

    assert len(work.before) == 11
    assert listed("c") == ["r5", "r2", "r3", "r0", "s0", "s1"]
    # The week of b ends on day 18: r0 is in it, and the later work of c is not.
    assert listed("b") == ["r0", "r4", "s0", "s1", "s2"]


def test_at_a_time_split_the_week_ends_with_the_split():
    week = [("c", f"s{day}", day) for day in (3, 4, 5, 6)]
    rows = [("a", "r0", 0), ("a", "r1", 1), ("b", "r2", 1.5), *week, ("b", "r3", 8.5), ("a", "r3", 9), ("b", "r0", 10)]
    work = split_at_time(timed(rows), [frozenset()] * 8, graded=False)
    assert work.split_at_s == 1_700_000_000 + 9 * DAY_S
    ranker = baselines(RankingSplit(work, work.before, "test"), seed=1)["popular_last_week"]()
    names = work.positives.resources
    assert [names[number] for number in ranker.ranked(0, 6)] == ["r3", "s3", "s4", "s5", "s6", "r2"]
    assert [names[number] for number in ranker.ranked(1, 6)] == ["s3", "s4", "s5", "s6", "r0", "r1"]


def test_without_clocks_there_is_no_last_week():
    assert "popular_last_week" not in baselines(split_of(table_of({"a": 30, "b": 20}), "test"), seed=1)
