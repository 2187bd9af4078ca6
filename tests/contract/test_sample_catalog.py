"""The sample catalog of the laptop stack is valid, and rich enough to recommend from."""

from collections import Counter
from pathlib import Path

import pytest

from services.catalog.domain.model import ResourceStatus
from services.catalog.domain.validation.imports import check_import
from services.catalog.formats.jsonl import line_of, read_resources, read_skills
from services.common.resource_kinds import ResourceKindName

SAMPLE = Path(__file__).parents[2] / "deploy" / "local" / "sample"


@pytest.fixture(scope="module")
def skills():
    return read_skills(SAMPLE / "skills.jsonl")


@pytest.fixture(scope="module")
def resources():
    return read_resources(SAMPLE / "resources.jsonl")


def test_the_sample_imports_into_an_empty_catalog_without_problems(skills, resources):
    assert skills.problems == []
    assert resources.problems == []
    assert check_import(skills.records, resources.records, {}) == []


def test_it_has_at_least_60_skills_of_grades_3_to_8_and_300_resources(skills, resources):
    assert len(skills.records) >= 60
    assert {grade for skill in skills.records for grade in skill.grades} == set("345678")
    assert len(resources.records) >= 300


def test_every_skill_has_its_real_code_as_id(skills):
    for skill in skills.records:
        assert (skill.id, skill.framework) == (skill.code, "CCSS.Math")
        assert skill.grades == (skill.code[0],)


def test_no_prerequisite_belongs_to_a_later_grade(skills):
    for skill in skills.records:
        assert all(prerequisite[0] <= skill.id[0] for prerequisite in skill.prerequisites)


def test_only_the_first_skills_of_grade_3_have_no_prerequisites(skills):
    roots = {skill.id for skill in skills.records if not skill.prerequisites}
    assert roots == {"3.OA.A.1", "3.NBT.A.1", "3.NF.A.1"}


def test_every_skill_can_be_taught_practised_and_assessed(skills, resources):
    teaching = {ResourceKindName.LESSON, ResourceKindName.VIDEO}
    for skill in skills.records:
        taught_by = {r.kind for r in resources.records if skill.id in {tag.skill for tag in r.teaches}}
        assessed_by = {r.kind for r in resources.records if skill.id in {tag.skill for tag in r.assesses}}
        assert taught_by & teaching, skill.id
        assert ResourceKindName.PRACTICE in taught_by & assessed_by, skill.id
        assert ResourceKindName.ASSESSMENT in assessed_by, skill.id


def test_all_six_kinds_occur_some_of_them_out_of_school(resources):
    kinds = Counter(resource.kind for resource in resources.records)
    assert set(kinds) == set(ResourceKindName)
    assert kinds[ResourceKindName.ACTIVITY] >= 30


def test_no_two_resources_share_a_title_a_description_or_an_address(resources):
    for column in ("title", "description", "url"):
        values = [getattr(resource, column) for resource in resources.records]
        assert len(set(values)) == len(values), column


def test_descriptions_use_words_instead_of_skill_codes(skills, resources):
    for resource in resources.records:
        assert len(resource.description.split()) >= 7, resource.id
        assert not any(skill.id in resource.title + resource.description for skill in skills.records), resource.id


def test_ids_are_short_because_learner_state_contains_them(resources):
    assert max(len(resource.id) for resource in resources.records) <= 20


def test_no_resource_links_to_a_real_site_or_lacks_a_column(resources):
    for resource in resources.records:
        assert resource.url.split("/")[2].endswith(".example.org")
        assert resource.provider
        assert resource.license
        assert resource.grades
        assert resource.minutes
        assert resource.difficulty is not None
        assert resource.status is ResourceStatus.ACTIVE


def test_most_resources_are_in_english_and_some_in_spanish(resources):
    languages = Counter(resource.language for resource in resources.records)
    assert set(languages) == {"en", "es"}
    assert 10 <= languages["es"] < languages["en"]


def test_the_sample_survives_a_round_trip_through_its_files(tmp_path, skills, resources):
    for name, contents, read in (("s", skills, read_skills), ("r", resources, read_resources)):
        file = tmp_path / name
        file.write_bytes(b"\n".join(map(line_of, contents.records)))
        assert read(file).records == contents.records
