"""Conversion between catalog records and messages loses nothing."""

import pytest
from hypothesis import given, settings

from cairn.v1 import catalog_pb2
from services.catalog.domain.model import ResourceStatus, TagOrigin
from services.catalog.wire.resources import resource_from_proto, resource_to_proto
from services.catalog.wire.skills import skill_from_proto, skill_to_proto
from services.common.resource_kinds import ResourceKindName
from tests.suites.catalog_records import resources, skills


@settings(deadline=None)
@given(skills)
def test_a_skill_survives_a_round_trip(skill):
    encoded = skill_to_proto(skill).SerializeToString()
    assert skill_from_proto(catalog_pb2.Skill.FromString(encoded)) == skill


@settings(deadline=None)
@given(resources)
def test_a_resource_survives_a_round_trip(resource):
    encoded = resource_to_proto(resource).SerializeToString()
    assert resource_from_proto(catalog_pb2.Resource.FromString(encoded)) == resource


def test_every_kind_and_status_of_the_contract_has_a_name():
    kinds = {resource_from_proto(catalog_pb2.Resource(kind=n)).kind for n in catalog_pb2.ResourceKind.values()}
    assert kinds == {None, *ResourceKindName}
    numbers = catalog_pb2.ResourceStatus.values()
    statuses = {resource_from_proto(catalog_pb2.Resource(status=n)).status for n in numbers}
    assert statuses == set(ResourceStatus)
    tags = [catalog_pb2.SkillTag(origin=number) for number in catalog_pb2.TagOrigin.values()]
    origins = {tag.origin for tag in resource_from_proto(catalog_pb2.Resource(teaches=tags)).teaches}
    assert origins == set(TagOrigin)


@pytest.mark.parametrize("field", ["kind", "status"])
def test_an_unknown_number_of_a_later_version_is_not_mistaken_for_a_known_one(field):
    message = catalog_pb2.Resource.FromString(bytes([{"kind": 6, "status": 14}[field] << 3, 99]))
    assert getattr(resource_from_proto(message), field) is None


def test_an_unknown_origin_of_a_later_version_is_not_mistaken_for_a_known_one():
    tag = catalog_pb2.SkillTag.FromString(bytes([3 << 3, 99]))
    assert resource_from_proto(catalog_pb2.Resource(assesses=[tag])).assesses[0].origin is None
