from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill, Ragged, build_columns

_skills = st.sampled_from([f"s{number}" for number in range(6)])
_tags = st.lists(st.tuples(_skills, st.floats(0.01, 1.0)), max_size=4).map(tuple)
_resources = st.builds(
    CatalogResource,
    resource_id=st.integers(0, 40).map(lambda number: f"r{number:02}"),
    kind=st.sampled_from(ResourceKind),
    teaches=_tags,
    assesses=_tags,
    grades=st.lists(st.sampled_from("345"), unique=True, max_size=2).map(tuple),
    active=st.booleans(),
)
_catalogs = st.lists(_resources, unique_by=lambda resource: resource.resource_id, max_size=12)
_skill_lists = st.lists(
    st.builds(CatalogSkill, skill_id=_skills, prerequisites=st.lists(_skills, max_size=3).map(tuple)),
    unique_by=lambda skill: skill.skill_id,
)


@given(_catalogs, _skill_lists)
def test_the_weights_of_a_resources_tags_sum_to_one(resources, skills):
    catalog = build_columns(resources, skills)
    for row in range(len(catalog)):
        shares = catalog.shares(row)
        assert len(shares) == 0 or shares.sum() == pytest.approx(1.0)


@given(_catalogs, _skill_lists, st.randoms())
def test_the_order_of_updates_does_not_matter(resources, skills, random):
    shuffled, shuffled_skills = list(resources), list(skills)
    random.shuffle(shuffled)
    random.shuffle(shuffled_skills)
    one, other = build_columns(resources, skills), build_columns(shuffled, shuffled_skills)
    for field in dataclasses.fields(one):
        assert _same(getattr(one, field.name), getattr(other, field.name)), field.name


@given(_catalogs, _skill_lists)
def test_prerequisites_of_a_resource_are_those_of_its_skills_without_its_own(resources, skills):
    catalog = build_columns(resources, skills)
    needs = {skill.skill_id: set(skill.prerequisites) for skill in skills}
    for resource in (resource for resource in resources if resource.active):
        own = {skill for skill, _ in resource.teaches + resource.assesses}
        expected = {needed for skill in own for needed in needs.get(skill, ())} - own
        row = catalog.row_of_resource[resource.resource_id]
        slots = catalog.prerequisites.row(row).tolist()
        assert sorted(catalog.skill_ids[slot] for slot in slots) == sorted(expected)


@given(_catalogs)
def test_the_catalog_holds_only_active_resources(resources):
    catalog = build_columns(resources, [])
    assert catalog.resource_ids == tuple(sorted(resource.resource_id for resource in resources if resource.active))


@given(_catalogs)
def test_a_response_measures_the_assessed_skills_equally_or_else_the_taught_ones(resources):
    catalog = build_columns(resources, [])
    for resource in (resource for resource in resources if resource.active):
        row = catalog.row_of_resource[resource.resource_id]
        _, entries = catalog.tags.entries(np.array([row]))
        measured = {
            catalog.skill_ids[slot]: share
            for slot, share in zip(catalog.tags.values[entries], catalog.tag_measures[entries], strict=True)
            if share
        }
        skills = {skill for skill, _ in resource.assesses} or {skill for skill, _ in resource.teaches}
        assert measured == pytest.approx(dict.fromkeys(skills, 1 / max(len(skills), 1)))


def test_assessments_come_first_among_what_assesses_a_skill_then_the_most_about_it():
    catalog = build_columns(
        [
            CatalogResource("a", kind=ResourceKind.PRACTICE, assesses=(("s", 1.0),)),
            CatalogResource("b", kind=ResourceKind.ASSESSMENT, assesses=(("s", 0.4),)),
            CatalogResource("c", kind=ResourceKind.ASSESSMENT, assesses=(("s", 0.9),)),
            CatalogResource("d", kind=ResourceKind.LESSON, teaches=(("s", 1.0),)),
        ],
        [],
    )
    assert [catalog.resource_ids[row] for row in catalog.assessments.row(0)] == ["c", "b", "a"]


def test_a_skill_that_only_a_tag_names_is_called_by_its_id():
    catalog = build_columns(
        [CatalogResource("r", teaches=(("unknown", 1.0),))], [CatalogSkill("s", "Adding  fractions")]
    )
    assert dict(zip(catalog.skill_ids, catalog.skill_labels, strict=True)) == {
        "unknown": "unknown",
        "s": "Adding fractions",
    }


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=6), st.data())
def test_entries_of_some_rows_are_their_values_one_row_after_the_other(lists, data):
    starts = np.concatenate(([0], np.cumsum([len(values) for values in lists]))).astype(np.intp)
    ragged = Ragged(starts, np.array([value for values in lists for value in values], np.intp))
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1)))
    owners, entries = ragged.entries(np.array(rows, np.intp))
    assert ragged.values[entries].tolist() == [value for row in rows for value in lists[row]]
    assert owners.tolist() == [place for place, row in enumerate(rows) for _ in lists[row]]


def _same(one, other):
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if dataclasses.is_dataclass(one):
        return all(_same(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one))
    if hasattr(one, "items"):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return one == other
