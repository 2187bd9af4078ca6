"""Every RPC can be called over HTTP, at a path of its own, and its path stays what it is."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from deploy.contracts.compatibility import breaks_between
from deploy.contracts.source import compile_protos, read_contracts

PROTOS = Path(__file__).parents[2] / "protos"


@pytest.fixture(scope="module")
def contracts():
    return read_contracts(PROTOS)


@pytest.fixture(scope="module")
def methods(contracts):
    return [method for file in contracts for service in file.services for method in service.methods]


def test_every_rpc_has_a_path_of_its_own_below_v1(methods):
    assert [method.name for method in methods if method.http is None] == []
    calls = Counter(re.sub(r"\{.*?\}", "{}", str(method.http)) for method in methods)
    assert [call for call, times in calls.items() if times > 1] == []
    assert all(method.http.path.startswith("/v1/") for method in methods)


def test_a_path_names_fields_of_the_request_and_so_does_the_body(contracts, methods):
    fields = {
        message.name: {field.name: field.type for field in message.fields}
        for file in contracts
        for message in file.messages
    }
    for method in methods:
        for variable in re.findall(r"\{(.*?)\}", method.http.path):
            message = method.request
            for part in variable.split("."):
                message = fields[message][part]
            assert message == "string", f"{method.name}: {variable}"
        assert method.http.body in {"", "*", *fields[method.request]}, method.name


def test_what_only_reads_by_id_is_a_get_and_what_a_get_or_a_delete_needs_is_in_its_path(methods):
    for method in methods:
        verb = method.http.verb
        if method.name.startswith(("Get", "List")):
            assert verb == "get", method.name
        if method.name.startswith("Delete"):
            assert verb == "delete", method.name
        assert bool(method.http.body) is (verb not in {"get", "delete"}), method.name


LIBRARY = """\
syntax = "proto3";
package library.v1;
import "google/api/annotations.proto";
service Library {
  rpc Return(ReturnRequest) returns (ReturnResponse) {
    option (google.api.http) = {post: "/v1/books:return", body: "*"};
  }
}
message ReturnRequest {}
message ReturnResponse {}
"""


def test_another_path_breaks_callers_and_a_first_one_breaks_nobody(tmp_path):
    def compiled(text):
        (tmp_path / "library.proto").write_text(text)
        return compile_protos(tmp_path)

    with_path = compiled(LIBRARY)
    moved = compiled(LIBRARY.replace("/v1/books:return", "/v1/books:give"))
    without = compiled(re.sub(r".*google\.api\.http.*\n", "", LIBRARY))
    assert breaks_between(without, with_path) == []
    for changed in (moved, without):
        (found,) = breaks_between(with_path, changed)
        assert found.element == "library.v1.Library.Return"
        assert "/v1/books:return" in found.change
