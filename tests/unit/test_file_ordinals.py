"""Ordinals among the equal rows of a file: exact, in file order, and in little memory."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.application.file_ordinals import with_ordinals
from services.ingest.application.ports import Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.kinds.interaction import Interaction
from services.ingest.domain.submission import Submission

_ASSESSMENTS = st.builds(
    Assessment,
    item=st.sampled_from("ab"),
    skills=st.sampled_from([(), ("s",), ("t",), ("s", "t"), ("t", "s")]),
    outcome=st.booleans(),
    attempt=st.sampled_from([None, 1, 2]),
)
_SUBMISSIONS = st.builds(
    Submission,
    learner_id=st.sampled_from(["ada", "ben"]),
    source=st.just("s"),
    body=_ASSESSMENTS | st.builds(Interaction, st.sampled_from("ab"), st.just(1)),
    event_id=st.sampled_from(["", "", "", "mine"]),
)


def placed(submissions):
    return [row.submission for row in with_ordinals(Row(line, one, None) for line, one in enumerate(submissions))]


def former(one):
    return one.learner_id, (one.body.item,) if isinstance(one.body, Assessment) else ("interaction", one.body.resource)


def details(one):
    return (frozenset(one.body.skills), one.body.attempt) if isinstance(one.body, Assessment) else ()


@given(st.lists(_SUBMISSIONS, max_size=60))
def test_ordinals_count_the_earlier_rows_that_are_otherwise_equal(submissions):
    equal, same_former = Counter(), Counter()
    for given_, row in zip(submissions, placed(submissions), strict=True):
        if row.event_id:
            assert row is given_
            continue
        key = former(row), details(row)
        assert row.ordinal == equal[key]
        assert row.former_id_taken == (same_former[former(row)] > 0)
        equal[key] += 1
        same_former[former(row)] += 1


def test_rows_that_are_no_events_are_passed_on():
    row = UnreadableRow(3, (), None)
    assert list(with_ordinals([row])) == [row]


def test_many_rows_are_told_apart():
    submissions = [Submission("ada", "s", Assessment(item=str(n % 30_000), outcome=True)) for n in range(60_000)]
    assert [row.ordinal for row in placed(submissions)] == [0] * 30_000 + [1] * 30_000
