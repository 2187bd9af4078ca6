"""The kinds of resources in the services are those of the contract."""

from __future__ import annotations

from cairn.v1 import catalog_pb2
from services.common.resource_kinds import ResourceKind, ResourceKindName


def test_numbers_and_names_of_kinds_are_those_of_the_contract():
    assert {f"RESOURCE_KIND_{kind.name}": kind.value for kind in ResourceKind} == dict(catalog_pb2.ResourceKind.items())


def test_every_kind_but_the_unspecified_one_has_a_name_for_files_and_commands():
    named = {kind.name: kind.value for kind in ResourceKindName}
    assert named == {kind.name: kind.name.lower() for kind in ResourceKind if kind is not ResourceKind.UNSPECIFIED}
