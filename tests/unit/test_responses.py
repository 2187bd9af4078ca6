"""Responses in columns, and the positives in them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.domain.training.positives import positives_of
from services.recommender.domain.training.responses import NONE, ResponseTable, ResponseTableBuilder

ids = st.sampled_from(["", "a", "b", "c", "ü"])
responses = st.lists(
    st.tuples(
        st.sampled_from(["l1", "l2", "l3"]),
        ids,
        st.lists(st.sampled_from(["s1", "s2", "s3"]), unique=True, max_size=3),
        st.sampled_from([0.0, 0.5, 1.0]),
        ids,
        st.integers(0, 10),
    ),
    max_size=30,
)


def built(rows, keep=None) -> ResponseTable:
    builder = ResponseTableBuilder()
    for learner, item, skills, response, resource, at_s in rows:
        builder.append(learner=learner, item=item, skills=skills, response=response, resource=resource, at_s=at_s)
    return builder.build(None if keep is None else np.array(keep, np.bool_))


def unfolded(table: ResponseTable) -> list[tuple]:
    def name(names, number):
        return "" if number == NONE else names[number]

    return [
        (
            table.learners[table.learner[row]],
            name(table.items, table.item[row]),
            [table.skills[k] for k in table.skill[table.skill_start[row] : table.skill_start[row + 1]]],
            float(table.response[row]),
            name(table.resources, table.resource[row]),
            int(table.at_s[row]),
        )
        for row in range(len(table))
    ]


@given(responses)
def test_a_table_holds_every_response_learner_by_learner_in_the_order_given(rows):
    assert unfolded(built(rows)) == sorted(rows, key=lambda row: row[0])


@given(responses, st.data())
def test_a_table_of_some_responses_is_that_of_a_log_without_the_others(rows, data):
    keep = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    some, alone = built(rows, keep), built([row for row, kept in zip(rows, keep, strict=True) if kept])
    assert unfolded(some) == unfolded(alone)
    assert (some.learners, some.items, some.skills, some.resources) == (
        alone.learners,
        alone.items,
        alone.skills,
        alone.resources,
    )


@given(responses, st.randoms(use_true_random=False))
def test_the_order_in_which_learners_come_does_not_matter(rows, random):
    queues = {learner: [row for row in rows if row[0] == learner] for learner in ("l1", "l2", "l3")}
    mixed = []
    while any(queues.values()):
        mixed.append(random.choice([queue for queue in queues.values() if queue]).pop(0))
    assert unfolded(built(mixed)) == unfolded(built(rows))
    assert built(mixed).items == built(rows).items


@given(responses)
def test_the_rows_of_some_learners_keep_their_skills(rows):
    table = built(rows)
    chosen = np.array([learner != "l2" for learner in table.learners], np.bool_)
    assert unfolded(table.of_learners(chosen)) == [row for row in unfolded(table) if row[0] != "l2"]
    assert table.skill_rows().tolist() == [row for row in range(len(table)) for _ in unfolded(table)[row][2]]


@given(responses)
def test_a_table_as_if_there_were_no_other_learners_is_that_of_a_log_without_them(rows):
    table = built(rows)
    found = table.as_if_only(np.array([learner != "l2" for learner in table.learners], np.bool_))
    alone = built([row for row in rows if row[0] != "l2"])
    assert unfolded(found) == unfolded(alone)
    assert (found.learners, found.items, found.skills, found.resources) == (
        alone.learners,
        alone.items,
        alone.skills,
        alone.resources,
    )


@given(responses)
def test_positives_are_the_distinct_resources_of_each_learner_in_the_order_first_met(rows):
    positives = positives_of(built(rows))
    for number, learner in enumerate(positives.learners):
        expected = list(dict.fromkeys(row[4] for row in rows if row[0] == learner and row[4]))
        own = positives.resource[positives.start[number] : positives.start[number + 1]]
        assert [positives.resources[resource] for resource in own] == expected
