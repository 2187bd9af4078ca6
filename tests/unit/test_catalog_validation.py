"""Limits of catalog records; each problem names the field, the value and the remedy."""

import math
from dataclasses import replace

import pytest

from services.catalog.domain.model import Resource, ResourceStatus, Skill, SkillTag
from services.catalog.domain.validation.fields import Problem
from services.catalog.domain.validation.imports import check_import, check_records
from services.common.resource_kinds import ResourceKindName

SKILL = Skill(id="6.RP.A.1", framework="CCSS.Math", code="6.RP.A.1", statement="Ratios", grades=("6",))
RESOURCE = Resource(
    id="vid-1",
    title="Paint in the ratio 2 to 3",
    kind=ResourceKindName.VIDEO,
    description="Two painters.\nTwo greens.",
    url="https://example.org/paint",
    teaches=(SkillTag("6.RP.A.1", 1.0),),
    grades=("K", "6"),
    language="es-419",
    minutes=7,
    difficulty=0.3,
)


def problems_of(record):
    if isinstance(record, Skill):
        return check_records([record], [])
    return check_import([SKILL], [record], {})


def test_valid_records_have_no_problem():
    assert check_import([SKILL], [RESOURCE], {}) == []


def test_a_record_with_only_required_fields_is_valid():
    assert check_import([Skill(id="a")], [Resource(id="r", title="T", kind=ResourceKindName.GAME)], {}) == []


@pytest.mark.parametrize(
    ("record", "path", "reason"),
    [
        (replace(SKILL, id=""), "skills[0].id", "'' is empty; give one"),
        (replace(SKILL, id="x" * 257), "skills[0].id", "has 257 characters; at most 256"),
        (replace(SKILL, id="a\x07b"), "skills[0].id", "control character U+0007 at 1; remove it"),
        (replace(SKILL, id=" a"), "skills[0].id", "begins or ends with white space"),
        (replace(SKILL, framework="f" * 257), "skills[0].framework", "at most 256"),
        (replace(SKILL, id="a\u200bb"), "skills[0].id", "format character U+200B ZERO WIDTH SPACE at 1; remove it"),
        (replace(SKILL, id="e\u0301"), "skills[0].id", "not in Unicode's form NFC; write it as '\u00e9'"),
        (replace(SKILL, code="c\n"), "skills[0].code", "control character U+000A"),
        (replace(SKILL, statement="s" * 4_097), "skills[0].statement", "at most 4,096"),
        (replace(SKILL, statement="a\x00"), "skills[0].statement", "U+0000"),
        (replace(SKILL, prerequisites=tuple(map(str, range(65)))), "skills[0].prerequisites", "65 entries; at most 64"),
        (replace(SKILL, prerequisites=("p", "p")), "skills[0].prerequisites[1]", "is also skills[0].prerequisites[0]"),
        (replace(SKILL, grades=("6", "13")), "skills[0].grades[1]", "'13' is not a grade; write PK, K or 1 to 12"),
        (replace(SKILL, importance=1.5), "skills[0].importance", "1.5 must be from 0 to 1"),
        (replace(SKILL, importance=math.nan), "skills[0].importance", "nan must be from 0 to 1"),
        (replace(RESOURCE, id="x" * 257), "resources[0].id", "at most 256"),
        (replace(RESOURCE, title="  "), "resources[0].title", "is empty; give one"),
        (replace(RESOURCE, title="t" * 513), "resources[0].title", "at most 512"),
        (replace(RESOURCE, description="d" * 4_097), "resources[0].description", "at most 4,096"),
        (replace(RESOURCE, provider="p" * 257), "resources[0].provider", "at most 256"),
        (replace(RESOURCE, license="l" * 257), "resources[0].license", "at most 256"),
        (replace(RESOURCE, url="example.org/x"), "resources[0].url", "'example.org/x' is not a web address"),
        (replace(RESOURCE, url="javascript:alert(1)"), "resources[0].url", "is not a web address"),
        (replace(RESOURCE, url="https://[::1/x"), "resources[0].url", "is not a web address"),
        (replace(RESOURCE, url="https://example.org/a b"), "resources[0].url", "is not a web address"),
        (replace(RESOURCE, url="https://example.org/" + "x" * 2_048), "resources[0].url", "at most 2,048"),
        (replace(RESOURCE, kind=None), "resources[0].kind", "must be one of lesson, video, practice, game"),
        (replace(RESOURCE, status=None), "resources[0].status", "must be one of draft, active, retired"),
        (
            replace(RESOURCE, teaches=(SkillTag("6.RP.A.1", 0.0),)),
            "resources[0].teaches[0].weight",
            "0.0 must be above",
        ),
        (replace(RESOURCE, assesses=(SkillTag("6.RP.A.1", 1.1),)), "resources[0].assesses[0].weight", "1.1 must be"),
        (
            replace(RESOURCE, teaches=(SkillTag("6.RP.A.1", 1, confidence=math.nan),)),
            "resources[0].teaches[0].confidence",
            "nan must be from 0 to 1",
        ),
        (
            replace(RESOURCE, teaches=(SkillTag("6.RP.A.1", 1, origin=None),)),
            "resources[0].teaches[0].origin",
            "must be one of source, suggested, reviewed",
        ),
        (replace(RESOURCE, teaches=(SkillTag("6.RP.A.1", math.nan),)), "resources[0].teaches[0].weight", "nan must be"),
        (replace(RESOURCE, teaches=RESOURCE.teaches * 2), "resources[0].teaches[1].skill", "is also resources[0]"),
        (replace(RESOURCE, grades=("7", "7")), "resources[0].grades[1]", "is also resources[0].grades[0]; keep one"),
        (replace(RESOURCE, language="english"), "resources[0].language", "'english' is not a BCP 47 language tag"),
        (replace(RESOURCE, language="e"), "resources[0].language", "is not a BCP 47 language tag"),
        (replace(RESOURCE, language="en_US"), "resources[0].language", "write for example en, es or pt-BR"),
        (replace(RESOURCE, minutes=0), "resources[0].minutes", "0 must be from 1 to 100,000"),
        (replace(RESOURCE, minutes=100_001), "resources[0].minutes", "must be from 1 to 100,000"),
        (replace(RESOURCE, difficulty=-0.1), "resources[0].difficulty", "-0.1 must be from 0 (easiest) to 1"),
        (replace(RESOURCE, difficulty=math.nan), "resources[0].difficulty", "nan must be from 0"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_field_and_remedy(record, path, reason):
    (problem,) = problems_of(record)
    assert problem.path == path
    assert reason in problem.reason


@pytest.mark.parametrize("count", [65])
def test_too_many_tags_are_named_once(count):
    skills = [Skill(id=str(n)) for n in range(count)]
    tags = tuple(SkillTag(skill.id, 1.0) for skill in skills)
    (problem,) = check_import(skills, [replace(RESOURCE, teaches=tags)], {})
    assert (problem.path, problem.reason) == ("resources[0].teaches", "has 65 entries; at most 64 are allowed")


@pytest.mark.parametrize("language", ["", "en", "pt-BR", "zh-Hant-TW", "es-419", "sl-rozaj-biske", "x-klingon", "yue"])
def test_well_formed_language_tags_pass(language):
    assert problems_of(replace(RESOURCE, language=language)) == []


def test_an_address_may_be_left_out():
    assert problems_of(replace(RESOURCE, url="")) == []


@pytest.mark.parametrize("status", list(ResourceStatus))
def test_every_status_passes(status):
    assert problems_of(replace(RESOURCE, status=status)) == []


def test_a_long_value_is_shown_shortened():
    (problem,) = problems_of(replace(RESOURCE, language="x" * 5_000))
    assert len(problem.reason) < 200


def test_an_id_given_twice_names_both_places():
    assert check_records([SKILL, replace(SKILL, statement="again")], [RESOURCE, RESOURCE]) == [
        Problem("skills[1].id", "'6.RP.A.1' is also skills[0].id; keep one"),
        Problem("resources[1].id", "'vid-1' is also resources[0].id; keep one"),
    ]


def test_a_skill_and_a_resource_may_share_an_id():
    assert check_import([SKILL], [replace(RESOURCE, id=SKILL.id)], {}) == []


def test_an_unknown_skill_is_named_wherever_it_is_referred_to():
    resource = replace(RESOURCE, teaches=(SkillTag("7.X", 1.0),), assesses=(SkillTag("8.X", 0.5),))
    problems = check_import([replace(SKILL, prerequisites=("5.X",))], [resource], {})
    assert [problem.path for problem in problems] == [
        "skills[0].prerequisites[0]",
        "resources[0].teaches[0].skill",
        "resources[0].assesses[0].skill",
    ]
    assert "skill '5.X' is neither in the catalog nor in this import; import that skill too" in problems[0].reason


def test_references_are_resolved_against_existing_records():
    existing = {"5.X": Skill(id="5.X")}
    resource = replace(RESOURCE, teaches=(SkillTag("5.X", 1.0),))
    assert check_import([replace(SKILL, prerequisites=("5.X",))], [resource], existing) == []


def test_a_cycle_within_an_import_is_named_in_full():
    skills = [
        Skill(id="a", prerequisites=("b",)),
        Skill(id="b", prerequisites=("c",)),
        Skill("c", prerequisites=("a",)),
    ]
    (problem,) = check_import(skills, [], {})
    assert problem.path == "skills[2].prerequisites[0]"
    assert "closes the cycle a -> b -> c -> a" in problem.reason


def test_a_cycle_through_existing_records_is_found():
    existing = {"a": Skill(id="a", prerequisites=("b",)), "b": Skill(id="b")}
    (problem,) = check_import([Skill(id="b", prerequisites=("x", "a")), Skill(id="x")], [], existing)
    assert problem.path == "skills[0].prerequisites[1]"
    assert "a -> b -> a" in problem.reason


def test_an_import_that_replaces_an_edge_may_turn_it_around():
    existing = {"a": Skill(id="a", prerequisites=("b",)), "b": Skill(id="b")}
    assert check_import([Skill(id="a"), Skill(id="b", prerequisites=("a",))], [], existing) == []


def test_a_cycle_the_import_has_no_part_in_is_not_its_problem():
    existing = {"a": Skill(id="a", prerequisites=("b",)), "b": Skill(id="b", prerequisites=("a",))}
    assert check_import([SKILL], [], existing) == []


def test_all_problems_are_collected_at_once():
    skill = replace(SKILL, importance=2.0, grades=("x",), prerequisites=("6.RP.A.1",))
    resource = replace(RESOURCE, kind=None, minutes=0, teaches=(SkillTag("unknown", 7.0),))
    assert {problem.path for problem in check_import([skill], [resource], {})} == {
        "skills[0].importance",
        "skills[0].grades[0]",
        "skills[0].prerequisites[0]",
        "resources[0].kind",
        "resources[0].minutes",
        "resources[0].teaches[0].weight",
        "resources[0].teaches[0].skill",
    }
