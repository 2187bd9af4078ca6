"""Properties of etags, page tokens and filters, for any record."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.catalog.application.read_catalog import (
    FilteredResources,
    PageRequestInvalidError,
    ResourceFilter,
    page_of,
    page_token_after,
)
from services.catalog.domain.contents import SortedRecords
from services.catalog.domain.etags import etag_of
from services.catalog.domain.model import Resource, ResourceStatus, Rule, RuleAction, Skill, SkillTag
from services.catalog.domain.validation.resources import check_resource
from services.catalog.domain.validation.rules import check_rule
from services.catalog.domain.validation.skills import check_skill
from services.common.resource_kinds import ResourceKindName
from tests.suites.catalog_log import PAINT, PIN
from tests.suites.catalog_records import resources, skills

records = skills | resources


@given(records, records)
def test_etags_are_equal_exactly_when_records_are(one, other):
    assert (etag_of(one) == etag_of(other)) == (one == other)
    assert etag_of(one) == etag_of(replace(one))


@pytest.mark.parametrize("field", [field.name for field in fields(Resource)])
def test_every_field_of_a_resource_is_in_its_etag(field):
    other = Resource(id="other", title="other", kind=ResourceKindName.GAME)
    assert getattr(other, field) != getattr(PAINT, field)
    assert etag_of(replace(PAINT, **{field: getattr(other, field)})) != etag_of(PAINT)


def test_the_etag_of_a_rule_covers_its_content_but_not_its_writer():
    stamped = replace(PIN, updated_with="somebody", updated_at=PIN.updated_at + timedelta(days=1))
    assert etag_of(stamped) == etag_of(PIN)
    elsewhere = replace(PIN, expires_at=PIN.expires_at.astimezone(timezone(timedelta(hours=2))))
    assert etag_of(elsewhere) == etag_of(PIN)
    assert etag_of(replace(PIN, expires_at=None)) != etag_of(PIN)


def test_records_of_two_kinds_have_different_etags():
    assert etag_of(Skill(id="a")) != etag_of(Rule(id="a", action=None))


def lesson(number, **columns):
    return Resource(id=f"r{number:03}", title="R", kind=ResourceKindName.LESSON, **columns)


def records_of(listed):
    records = SortedRecords()
    for record in listed:
        records.put(record)
    return records


@given(st.lists(resources, max_size=30, unique_by=lambda one: one.id), st.integers(1, 7), st.text(max_size=5))
def test_pages_of_any_size_make_up_the_whole_in_order(listed, size, scope):
    listed = [one for one in listed if one.id]
    records, token, seen = records_of(listed), "", []
    while True:
        page = page_of(records, size, token, scope)
        seen += [record.id for record in page.records]
        if not page.more:
            break
        token = page_token_after(page.records[-1].id, scope)
    assert seen == sorted(one.id for one in listed)


@given(st.text(max_size=8), st.text(max_size=8), st.text(min_size=1, max_size=8))
def test_a_page_token_is_valid_for_its_own_listing_only(scope, other, identifier):
    token = page_token_after(identifier, scope)
    page_of(SortedRecords(), 1, token, scope)
    if scope != other:
        with pytest.raises(PageRequestInvalidError, match="belongs to another listing"):
            page_of(SortedRecords(), 1, token, other)


FILTERED = [
    lesson(1, provider="acorn", grades=("3",), language="en-GB", topics=("space",), status=ResourceStatus.DRAFT),
    lesson(2, teaches=(SkillTag("a", 1.0),)),
    lesson(3, assesses=(SkillTag("b", 1.0),), provider="birch", language="es"),
    replace(lesson(4), kind=ResourceKindName.GAME),
]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [1, 2, 3, 4]),
        ({"kinds": {ResourceKindName.GAME}}, [4]),
        ({"kinds": {None}}, []),
        ({"statuses": {ResourceStatus.DRAFT}}, [1]),
        ({"skills": {"a", "b"}}, [2, 3]),
        ({"providers": {"acorn", "birch"}}, [1, 3]),
        ({"grades": {"4"}}, [2, 3, 4]),
        ({"languages": {"en-gb"}}, [1, 2, 4]),
        ({"topics": {"space"}}, [1]),
        ({"untagged": True}, [1, 4]),
        ({"untagged": False}, [2, 3]),
        ({"untagged": True, "kinds": {ResourceKindName.LESSON}}, [1]),
    ],
)
def test_a_filter_matches_records_that_match_every_field(fields, expected):
    wanted = ResourceFilter(**{k: frozenset(v) if isinstance(v, set) else v for k, v in fields.items()})
    matching = FilteredResources().of("riverbend", records_of(FILTERED), wanted)
    assert list(matching) == [f"r{number:03}" for number in expected]


def test_a_cached_listing_is_rebuilt_when_the_resources_change():
    filtered, records, wanted = FilteredResources(), records_of(FILTERED), ResourceFilter(untagged=True)
    assert filtered.of("riverbend", records, wanted) is filtered.of("riverbend", records, wanted)
    records.put(lesson(5))
    assert "r005" in filtered.of("riverbend", records, wanted)
    assert len(filtered.of("hillside", SortedRecords(), wanted)) == 0


def test_a_cycle_is_named_from_the_skill_that_closes_it():
    existing = {"a": Skill("a", prerequisites=("b",)), "b": Skill("b", prerequisites=("c",)), "d": Skill("d")}
    (problem,) = check_skill("skill", Skill("c", prerequisites=("d", "a")), existing | {"c": Skill("c")})
    assert problem.path == "skill.prerequisites[1]"
    assert "c -> a -> b -> c" in problem.reason
    (problem,) = check_skill("skill", Skill("e", prerequisites=("e",)), existing)
    assert "e -> e" in problem.reason
    assert not check_skill("skill", Skill("d", prerequisites=("c",)), {"c": Skill("c"), "d": Skill("d")})


GOOD = Rule("r", RuleAction.BOOST, "teacher-7", resource_ids=("r001",), skills=("a",), factor=2.0)


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"id": ""}, "rule.id", "is empty"),
        ({"author": " "}, "rule.author", "is empty"),
        ({"action": None}, "rule.action", "must be one of pin, block, boost"),
        ({"action": RuleAction.PIN}, "rule.factor", "only a boost has one; leave it out"),
        ({"factor": None}, "rule.factor", "is missing; a boost needs one from 0.1 to 10"),
        ({"factor": 11.0}, "rule.factor", "11; a boost needs one"),
        ({"factor": float("nan")}, "rule.factor", "nan; a boost needs one"),
        ({"resource_ids": ()}, "rule.resource_ids", "name at least one resource or provider"),
        ({"resource_ids": ("r001", "r001")}, "rule.resource_ids[1]", "keep one"),
        ({"resource_ids": ("gone",)}, "rule.resource_ids[0]", "resource 'gone' is not in the catalog"),
        ({"skills": ("z",)}, "rule.skills[0]", "skill 'z' is not in the catalog"),
        ({"grades": ("13",)}, "rule.grades[0]", "'13' is not a grade"),
        ({"classes": ("4b\n",)}, "rule.classes[0]", "control character"),
    ],
)
def test_an_invalid_rule_is_reported_with_field_value_and_remedy(changes, field, reason):
    problems = check_rule("rule", replace(GOOD, **changes), {"a": Skill("a")}, {"r001": lesson(1)})
    assert field in [problem.path for problem in problems]
    assert any(reason in problem.reason for problem in problems if problem.path == field)
    assert not check_rule("rule", GOOD, {"a": Skill("a")}, {"r001": lesson(1)})


def test_topics_and_rejected_skills_are_checked():
    resource = lesson(1, teaches=(SkillTag("a", 1.0),), topics=("Outer Space", "art"), rejected_skills=("a",))
    problems = {problem.path: problem.reason for problem in check_resource("resource", resource, {"a": Skill("a")})}
    assert set(problems) == {"resource.topics[0]", "resource.rejected_skills[0]"}
    assert "also a tag" in problems["resource.rejected_skills[0]"]


def test_a_rule_ends_at_its_end_time():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert replace(GOOD, expires_at=now).has_ended(now)
    assert not replace(GOOD, expires_at=now + timedelta(seconds=1)).has_ended(now)
    assert not GOOD.has_ended(now)
