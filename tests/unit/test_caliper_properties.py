"""What holds for every document: it gets an answer, and what is taken can be checked and told apart."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from services.ingest.application.ports import LeftOutRow, Row, UnreadableRow
from services.ingest.domain.submission import Instant, event_ids_of
from services.ingest.domain.validation import problems_of
from services.ingest.formats.caliper import rows_of
from services.ingest.formats.caliper.entities import is_a, is_known
from services.ingest.formats.caliper.events import ACTIONS, EVENTS
from tests.caliper_events import CONTEXT, ITEM, LEARNER, QUIZ, attempt, envelope, event, graded, score

NOW = Instant(1_900_000_000)
TERMS = st.sampled_from(
    [*EVENTS, *ACTIONS, "Person", "Attempt", "Score", "AssessmentItem", "NotATerm", "vendor:Thing", LEARNER, ITEM, QUIZ]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), TERMS,
    st.sampled_from(["\ud800", "", "2026-03-14T10:30:00Z", "PT1M", 10**400, "2026-02-30T10:30:00Z", "P1Y", CONTEXT]),
)  # fmt: skip
NAMES = st.sampled_from(
    ["@context", "id", "@id", "type", "@type", "actor", "action", "object", "generated", "assignee", "assignable",
     "score", "attempt", "count", "isPartOf", "extensions", "items", "data", "scoreGiven", "maxScore",
     "startedAtTime", "roles"]
)  # fmt: skip
ANY = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=12
)
DOCUMENTS = (
    graded(),
    envelope({"@context": CONTEXT, "type": "Person", "id": LEARNER}, graded()),
    event("AssessmentItemEvent", "Completed", object=ITEM, generated={"score": score(), "attempt": attempt()}),
    event("AssessmentEvent", "Submitted", object=attempt(), membership={"id": "a:b", "roles": [1]}),
    event("Event", "Deleted", object=attempt()),
)  # fmt: skip


def paths_of(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, part in inner for deeper in paths_of(part, (*path, key)))]


@st.composite
def bent(draw: st.DrawFn) -> object:
    """A document in which some parts are replaced with anything, or removed."""
    root = {"": copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))}
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(paths_of(root)[1:]))
        holder: Any = root
        for key in above:
            holder = holder[key]
        if above and draw(st.booleans()):
            del holder[last]
        else:
            holder[last] = draw(ANY)
    return root[""]


def check(document: object) -> None:
    for row in rows_of(document, "caliper", 1):
        match row:
            case Row():
                normal = row.submission.normalised()
                if not problems_of(normal, NOW):
                    assert event_ids_of(normal, "riverbend", "A" * 26)[0]
            case UnreadableRow():
                assert row.problems
                assert all(problem.reason for problem in row.problems)
            case LeftOutRow():
                assert row.reason


@given(ANY)
def test_any_json_gets_an_answer(document: object) -> None:
    check(document)


@given(bent())
@example(graded(object=attempt(startedAtTime="\ud800")))
@example(graded(edApp={"id": 7}))
def test_an_event_of_which_a_part_is_anything_gets_an_answer(document: object) -> None:
    check(document)


@given(bent())
def test_a_document_is_read_the_same_way_each_time(document: object) -> None:
    before = copy.deepcopy(document)
    first = repr(list(rows_of(document, "caliper", 1)))
    assert repr(document) == repr(before)
    assert repr(list(rows_of(document, "caliper", 1))) == first


def test_every_type_that_a_rule_names_is_one_of_calipers() -> None:
    for rule in EVENTS.values():
        for kind in f"{rule.object}|{rule.generated}|{rule.target}".split("|"):
            assert is_known(kind), kind
            assert is_a(kind, "Thing"), kind
