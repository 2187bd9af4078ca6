"""Learners that are one log under two ids."""

from __future__ import annotations

import csv
import itertools
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.recommender.domain.training.responses import NONE, ResponseTable, ResponseTableBuilder
from services.recommender.domain.training.splits import split_work, tags_of
from services.recommender.domain.training.twins import near_identical, redundant, without_twins
from services.recommender.evaluation.data import learner_id, read_responses, read_tracing_table

DATA = Path(os.environ.get("CAIRN_DATA", "../shared/data"))

Log = list[tuple[str, bool]]


def built(logs: dict[str, Log]) -> ResponseTable:
    """Each learner's items and outcomes; an item is its own resource."""
    builder = ResponseTableBuilder()
    for learner, log in logs.items():
        for item, right in log:
            builder.append(learner=learner, item=item, skills=["s"], response=float(right), resource=item)
    return builder.build()


def interactions(resources_of: dict[str, list[str]], skills=()) -> ResponseTable:
    builder = ResponseTableBuilder()
    for learner, resources in resources_of.items():
        for each in resources:
            builder.append(learner=learner, item="", skills=skills, response=1.0, resource=each)
    return builder.build()


def log_of(size: int, *, wrong: set[int], first: int = 0) -> Log:
    """Responses to `size` items from number `first` on."""
    return [(f"i{number:03}", number not in wrong) for number in range(first, first + size)]


def pairs_of(table: ResponseTable, *, graded: bool = True) -> list[tuple[str, str]]:
    return [(table.learners[left], table.learners[right]) for left, right in near_identical(table, graded=graded)]


# Every third item is wrong: 7 of 20, 14 of 40.
THIRD = set(range(0, 200, 3))


def test_a_log_under_two_ids_is_found_and_the_shorter_copy_is_left_out():
    whole = log_of(40, wrong=THIRD)
    table = built({"a": whole, "b": whole[:30], "c": log_of(40, wrong=set(range(0, 40, 2)))})
    assert pairs_of(table) == [("b", "a")]
    assert redundant(table).tolist() == [False, True, False]


def test_of_two_equally_long_logs_the_later_id_is_left_out():
    log = log_of(25, wrong=THIRD)
    assert pairs_of(built({"z": log, "y": log})) == [("z", "y")]


def test_rows_decide_which_log_is_left_out_even_if_the_other_has_more_items():
    log = log_of(25, wrong=THIRD)
    # Both outcomes of a repeated item count as rows, only the first as an outcome.
    repeated = log[:22] + [(item, not right) for item, right in log[:22]]
    assert pairs_of(built({"a": log, "b": repeated})) == [("a", "b")]


def test_only_the_first_response_to_an_item_counts():
    log = log_of(25, wrong=THIRD)
    contrary = [(item, not right) for item, right in log]
    assert pairs_of(built({"a": log, "b": [*log, *contrary]})) == [("a", "b")]
    assert pairs_of(built({"a": log, "b": [*contrary, *log]})) == []


@pytest.mark.parametrize(
    ("common", "twins"),
    [(19, False), (20, True)],
)
def test_twins_have_twenty_items_in_common(common, twins):
    # The rest of each, up to 24 items, is its own.
    shared = log_of(common, wrong=THIRD)
    table = built(
        {"a": [*shared, *log_of(4, wrong=THIRD, first=100)], "b": [*shared, *log_of(4, wrong=set(), first=150)]}
    )
    assert bool(pairs_of(table)) is twins


@pytest.mark.parametrize(("own", "twins"), [(30, True), (31, False)])
def test_twins_have_half_of_the_shorter_logs_items_in_common(own, twins):
    shared = log_of(30, wrong=THIRD)
    table = built(
        {"a": [*shared, *log_of(own, wrong=set(), first=100)], "b": [*shared, *log_of(90, wrong=set(), first=200)]}
    )
    assert bool(pairs_of(table)) is twins


@pytest.mark.parametrize(("different", "twins"), [(2, True), (3, False)])
def test_twins_have_equal_first_outcomes_on_95_percent_of_their_common_items(different, twins):
    log = log_of(40, wrong=THIRD)
    other = [(item, right != (number < different)) for number, (item, right) in enumerate(log)]
    assert bool(pairs_of(built({"a": log, "b": other}))) is twins


@pytest.mark.parametrize("rarer", ["right", "wrong"])
@pytest.mark.parametrize(("times", "twins"), [(3, False), (4, True)])
def test_twins_share_four_of_the_rarer_outcome(rarer, times, twins):
    rare = set(range(times))
    log = log_of(60, wrong=rare if rarer == "wrong" else set(range(60)) - rare)
    assert bool(pairs_of(built({"a": log, "b": log}))) is twins


def test_a_class_that_did_an_assignment_in_the_same_order_with_different_outcomes_has_no_twins():
    rng = np.random.default_rng(4)
    # With a chance of success of .9, most pairs agree on four fifths of the items.
    logs = {f"l{each:02}": log_of(40, wrong=set(np.flatnonzero(rng.random(40) > 0.9).tolist())) for each in range(30)}
    assert pairs_of(built(logs)) == []


def test_a_class_that_got_everything_right_has_no_twins():
    assert pairs_of(built({f"l{each:02}": log_of(40, wrong=set()) for each in range(30)})) == []


def test_items_with_a_wrong_key_make_no_twins_of_a_class():
    """Four items are scored wrong for everybody, everything else is right: all logs are equal."""
    assert pairs_of(built({f"l{each:02}": log_of(40, wrong={3, 9, 11, 30}) for each in range(6)})) == []
    five = built({f"l{each:02}": log_of(40, wrong={3, 9, 11, 30}) for each in range(5)})
    assert len(pairs_of(five)) == 10
    assert redundant(five).tolist() == [False, True, True, True, True]


def test_without_outcomes_twins_have_95_percent_of_their_resources_in_common():
    resources = [f"r{number:03}" for number in range(100)]
    # 57 of 60 in the union are common, 56 of 60 are not enough.
    table = interactions({"a": resources[:58], "b": [*resources[:57], "x", "y"]})
    assert pairs_of(table, graded=False) == [("a", "b")]
    assert pairs_of(interactions({"a": resources[:58], "b": [*resources[:56], "x", "y"]}), graded=False) == []
    assert pairs_of(interactions({"a": resources[:19], "b": resources[:19]}), graded=False) == []
    assert pairs_of(interactions({"a": resources[:20], "b": resources[:20]}), graded=False) == [("b", "a")]


def test_opened_resources_are_no_outcomes():
    builder = ResponseTableBuilder()
    for learner, rights in (("a", 0), ("b", 1)):
        for number in range(30):
            builder.append(learner=learner, item="", skills=[], response=0.0, resource=f"r{number:02}")
            builder.append(learner=learner, item=f"i{number:02}", skills=["s"], response=float(number % 2 == rights))
    assert pairs_of(builder.build()) == []


def test_scores_on_a_resource_count_where_there_is_no_item():
    builder = ResponseTableBuilder()
    for learner in ("a", "b"):
        for number in range(30):
            builder.append(
                learner=learner, item="", skills=["s"], response=number % 4 / 4 + 0.1, resource=f"r{number:02}"
            )
    assert pairs_of(builder.build()) == [("b", "a")]


def naive(table: ResponseTable, *, graded: bool) -> list[tuple[int, int]]:
    """The definition, pair by pair, in exact fractions."""
    first: dict[int, dict[str, bool]] = {number: {} for number in range(len(table.learners))}
    for row in range(len(table)):
        item, place, learner = int(table.item[row]), int(table.resource[row]), int(table.learner[row])
        tagged = table.skill_start[row + 1] > table.skill_start[row]
        if not graded and place != NONE:
            first[learner].setdefault(table.resources[place], True)
        if graded and (item != NONE or (place != NONE and tagged)):
            key = f"item {table.items[item]}" if item != NONE else f"resource {table.resources[place]}"
            first[learner].setdefault(key, bool(table.response[row] >= 0.5))
    found = []
    for one, other in itertools.combinations(first, 2):
        common = first[one].keys() & first[other].keys()
        if len(common) < 20:
            continue
        shorter = min(len(first[one]), len(first[other]))
        if not graded:
            if Fraction(len(common), len(first[one].keys() | first[other].keys())) >= Fraction("0.95"):
                found.append((one, other))
            continue
        equal = [first[one][key] for key in common if first[one][key] == first[other][key]]
        enough = Fraction(len(common), shorter) >= Fraction(1, 2)
        alike = Fraction(len(equal), len(common)) >= Fraction("0.95")
        if enough and alike and min(equal.count(True), equal.count(False)) >= 4:
            found.append((one, other))
    twins = [sum(learner in pair for pair in found) for learner in first]
    rows = [int((table.learner == learner).sum()) for learner in first]
    kept = [pair for pair in found if max(twins[learner] for learner in pair) <= 4]
    return sorted((one, other) if rows[one] < rows[other] else (other, one) for one, other in kept)


def random_logs(seed: int, *, graded: bool) -> ResponseTable:
    """Logs over 60 items, and copies of them with a few changes at, above and below every threshold."""
    rng = np.random.default_rng(seed)
    builder = ResponseTableBuilder()
    logs: list[list[tuple[int, bool]]] = []
    for _ in range(rng.integers(1, 5)):
        chance = rng.choice([0.1, 0.5, 0.9, 1.0])
        items = rng.permutation(60)[: rng.integers(18, 50)].tolist()
        original = [(item, bool(rng.random() < chance)) for item in items]
        logs.append(original)
        for _ in range(rng.integers(0, rng.choice([3, 8]))):
            changed = dict(original[: rng.integers(len(items) // 2, len(items) + 1)])
            for item in rng.permutation(list(changed))[: rng.integers(0, 4)].tolist():
                changed[item] = not changed[item]
            extra = rng.permutation(60)[: rng.choice([0, 1, 2, len(items)])].tolist()
            log = [*changed.items(), *((item, bool(rng.random() < chance)) for item in extra)]
            logs.append([log[place] for place in rng.permutation(len(log))])
    for number in rng.permutation(len(logs)).tolist():
        for item, right in logs[number]:
            alone = graded and item % 7 == 0
            builder.append(
                learner=f"l{number:02}",
                item=f"i{item:02}" if graded and not alone else "",
                skills=["s"] if alone else [],
                response=float(right),
                resource=f"r{item:02}",
            )
    return builder.build()


# Someone with too many twins has few enough once one of these is left out.
@example(seed=56_605_685, graded=True, as_graded=True)
@given(seed=st.integers(0, 2**32 - 1), graded=st.booleans(), as_graded=st.booleans())
def test_pairs_are_those_of_the_definition(seed, graded, as_graded):
    table = random_logs(seed, graded=graded)
    found = [tuple(pair) for pair in near_identical(table, graded=as_graded).tolist()]
    assert found == naive(table, graded=as_graded)
    assert near_identical(without_twins(table, graded=as_graded), graded=as_graded).tolist() == []


def test_random_logs_have_twins_and_learners_that_nearly_are():
    """The property test above is about both."""
    tables = [random_logs(seed, graded=seed % 2 == 0) for seed in range(60)]
    learners = sum(len(table.learners) for table in tables)
    pairs = [len(near_identical(table, graded=seed % 2 == 0)) for seed, table in enumerate(tables)]
    assert sum(count > 0 for count in pairs[::2]) > 5
    assert sum(count > 0 for count in pairs[1::2]) > 5
    assert sum(pairs) < learners


def test_an_inner_split_has_one_of_two_twins():
    rng = np.random.default_rng(6)
    logs = {
        f"l{each}": log_of(40, wrong=set(np.flatnonzero(rng.random(40) < 0.4).tolist()), first=10 * each)
        for each in range(6)
    }
    table = built({**logs, "twin": logs["l2"][:30]})
    inner = split_work(table, np.ones(len(table), np.bool_), tags_of(table)).inner(seed=1)
    assert set(inner.relevant) == set(range(6))
    assert not len(inner.own(table.learners.index("twin")))
    assert {table.learners[number] for number in np.unique(inner.before.learner)} == set(logs)


@pytest.mark.parametrize(
    ("folder", "read"),
    [
        ("assistments2009", read_responses),
        ("assistments2009-kt", lambda folder: read_tracing_table(folder, ("train.tsv", "test.tsv"))[0]),
    ],
)
def test_the_known_clones_are_found_and_no_others(folder, read):
    if not (DATA / folder).is_dir():
        pytest.skip(f"{DATA / folder} does not exist; set CAIRN_DATA to the folder with the data sets")
    table = read(DATA / folder)
    with (DATA / folder / "clones.csv").open(encoding="utf-8") as file:
        known = {frozenset((learner_id(row["learner"]), learner_id(row["twin"]))) for row in csv.DictReader(file)}
    found = pairs_of(table)
    assert len(known) == len(found) == 90
    assert {frozenset(pair) for pair in found} == known


_MANY = """
import resource
import sys
from tests.unit.test_twins import many_learners
from services.recommender.domain.training.twins import near_identical
table = many_learners(int(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = near_identical(table)
print(len(found), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / len(table))
"""


def many_learners(learners: int) -> ResponseTable:
    """40 items each out of 4,000, drawn at random; every thousandth learner is a copy of the one before."""
    rng = np.random.default_rng(2)
    item = rng.integers(0, 4_000, (learners, 40)).astype(np.int32)
    response = (rng.random(item.shape) < 0.7).astype(np.float32)
    copies = np.arange(1, learners, 1_000)
    item[copies], response[copies] = item[copies - 1], response[copies - 1]
    rows = item.size
    return ResponseTable(
        learners=tuple(f"l{number:06}" for number in range(learners)),
        items=tuple(f"i{number:04}" for number in range(4_000)),
        skills=(),
        resources=(),
        learner=np.repeat(np.arange(learners, dtype=np.int32), 40),
        item=item.ravel(),
        response=response.ravel(),
        skill_start=np.zeros(rows + 1, np.int64),
        skill=np.zeros(0, np.int32),
        resource=np.full(rows, NONE, np.int32),
        at_s=np.zeros(rows, np.int64),
    )


def test_memory_grows_with_the_responses_and_not_with_the_pairs_of_learners():
    """30,000 learners are 450 million pairs; 1.2 million responses of 300 bytes are 360 MB."""
    done = subprocess.run(
        [sys.executable, "-c", _MANY, "30000"], capture_output=True, text=True, check=True, timeout=100
    )
    found, bytes_per_response = done.stdout.split()
    assert int(found) == 30
    assert float(bytes_per_response) < 300
