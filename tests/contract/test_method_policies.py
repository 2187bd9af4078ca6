"""Every RPC carries its policy in the contract: the scope of the API key, and whether calls are audited."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from cairn.v1 import options_pb2
from deploy.contracts.baseline import baseline_text, read_baseline
from deploy.contracts.compatibility import breaks_between
from deploy.contracts.source import compile_protos, read_contracts
from services.common.auth.tenant import Scope
from services.common.rpc.policy import MethodPolicy, policy_of

PROTOS = Path(__file__).parents[2] / "protos"
READS = ("Get", "List", "Suggest", "Publish", "Stream", "Recommend", "Plan", "Subscribe", "Preview")


def methods():
    modules = [importlib.import_module(f"cairn.v1.{path.stem}_pb2") for path in PROTOS.glob("cairn/v1/*.proto")]
    return {
        f"{service.full_name}/{method.name}": method
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def test_every_rpc_states_its_scope():
    assert len(methods()) >= 26
    for name, method in methods().items():
        assert method.GetOptions().Extensions[options_pb2.method].scope != options_pb2.SCOPE_UNSPECIFIED, name


def test_the_scopes_of_the_contracts_are_those_of_api_keys():
    names = {name.removeprefix("SCOPE_").lower() for name in options_pb2.Scope.keys()}  # noqa: SIM118 - an enum wrapper, no dict.
    assert names - {"unspecified"} == set(Scope)


def test_each_service_has_a_scope_of_its_own_and_deleting_a_learner_needs_admin():
    assert policy_of("cairn.v1.IngestService/DeleteLearner").scope is Scope.ADMIN
    scopes = {}
    for name in methods().keys() - {"cairn.v1.IngestService/DeleteLearner"}:
        scopes.setdefault(name.partition("/")[0], set()).add(policy_of(name).scope)
    assert scopes == {
        "cairn.v1.IngestService": {Scope.INGEST},
        "cairn.v1.RecommendationService": {Scope.RECOMMEND},
        "cairn.v1.CatalogService": {Scope.CATALOG},
    }


def test_every_method_that_changes_what_others_rely_on_is_audited():
    audited = {name for name in methods() if policy_of(name).audited}
    assert audited == {name for name in methods() if not name.partition("/")[2].startswith(READS)}
    assert {name.partition("/")[2] for name in audited} == {
        "DeleteLearner",
        "ImportCatalog",
        "PutResource",
        "DeleteResource",
        "PutSkill",
        "DeleteSkill",
        "BatchPut",
        "PutRule",
        "DeleteRule",
        "ReviewTag",
    }


def test_an_rpc_without_a_policy_needs_the_scope_admin():
    file = descriptor_pb2.FileDescriptorProto(name="unlisted.proto", package="unlisted.v1", syntax="proto3")
    file.message_type.add(name="Nothing")
    service = file.service.add(name="Unlisted")
    service.method.add(name="Call", input_type=".unlisted.v1.Nothing", output_type=".unlisted.v1.Nothing")
    descriptor_pool.Default().Add(file)
    assert policy_of("unlisted.v1.Unlisted/Call") == MethodPolicy(Scope.ADMIN, audited=False)
    assert policy_of("unlisted.v1.Unlisted/Other") == MethodPolicy(Scope.ADMIN, audited=False)
    assert policy_of("nothing") == MethodPolicy(Scope.ADMIN, audited=False)


# The contract check knows of the options.

LIBRARY = """\
// Books.
syntax = "proto3";
package library.v1;
import "cairn/v1/options.proto";
// Lends.
service Library {
  // Gives back.
  rpc Return(ReturnRequest) returns (ReturnResponse) {
    option (cairn.v1.method) = {scope: SCOPE_INGEST, audited: true};
  }
}
// Asks.
message ReturnRequest {}
// Answers.
message ReturnResponse {}
"""


@pytest.fixture
def compiled(tmp_path):
    def compile_text(text):
        (tmp_path / "cairn/v1").mkdir(parents=True, exist_ok=True)
        (tmp_path / "cairn/v1/options.proto").write_text((PROTOS / "cairn/v1/options.proto").read_text())
        (tmp_path / "library.proto").write_text(text)
        return compile_protos(tmp_path)

    return compile_text


def test_the_baseline_keeps_the_options(compiled, tmp_path):
    accepted = compiled(LIBRARY)
    path = tmp_path / "baseline.txtpb"
    path.write_text(baseline_text(accepted))
    assert "audited: true" in path.read_text()
    assert breaks_between(read_baseline(path), accepted) == []


def test_the_reference_is_given_the_policy(compiled, tmp_path):
    compiled(LIBRARY)
    (service,) = (service for file in read_contracts(tmp_path) for service in file.services)
    assert [method.policy for method in service.methods] == [MethodPolicy(Scope.INGEST, audited=True)]


def test_adding_a_policy_breaks_nothing_and_changing_its_scope_breaks_callers(compiled):
    with_policy = compiled(LIBRARY)
    admin = compiled(LIBRARY.replace("SCOPE_INGEST", "SCOPE_ADMIN"))
    without = compiled(LIBRARY.replace("    option (cairn.v1.method) = {scope: SCOPE_INGEST, audited: true};\n", ""))
    assert breaks_between(without, with_policy) == []
    for changed in (admin, without):
        (found,) = breaks_between(with_policy, changed)
        assert (found.element, found.change) == ("library.v1.Library.Return", "changed its scope from ingest to admin")
        assert "PERMISSION_DENIED" in found.consequence
