"""The generated documents are complete, well-formed, up to date and match the contracts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field
from typer.testing import CliRunner

from deploy.contracts.__main__ import app
from deploy.contracts.api_reference import api_reference
from deploy.contracts.asyncapi import asyncapi_document
from deploy.contracts.openapi import openapi_document
from deploy.contracts.source import ContractError, compile_protos, read_contracts
from deploy.envoy.config import CONTAINERS, gateway_config
from services.common.kafka import envelope
from services.common.kafka.topics import TopicDeclaration, load_declarations

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def contracts():
    return read_contracts(ROOT / "protos")


@pytest.fixture(scope="module")
def topics():
    return load_declarations(ROOT / "deploy/topics.yaml")


@pytest.fixture(scope="module")
def document(contracts, topics):
    return yaml.safe_load(asyncapi_document(topics, contracts))


@pytest.fixture(scope="module")
def openapi(contracts):
    return yaml.safe_load(openapi_document(contracts))


def test_the_committed_documents_are_up_to_date(contracts, topics):
    openapi = openapi_document(contracts)
    assert (ROOT / "docs/openapi.yaml").read_text() == openapi, "run make contracts"
    configured = yaml.safe_load((ROOT / "deploy/helm/cairn/files/envoy.yaml").read_text())
    assert configured == gateway_config(CONTAINERS, openapi), "run make contracts"
    assert (ROOT / "docs/api.md").read_text() == api_reference(contracts), "run make contracts"
    assert (ROOT / "docs/asyncapi.yaml").read_text() == asyncapi_document(topics, contracts), "run make contracts"


def test_a_stale_or_missing_document_fails_the_check_and_names_the_command(tmp_path):
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/topics.yaml").write_text("topics: {}\n")
    (tmp_path / "protos").mkdir()
    (tmp_path / "protos/a.proto").write_text('syntax = "proto3";\npackage a.v1;\n// One thing.\nmessage Thing {}\n')

    def run(command):
        return CliRunner().invoke(app, [command, "--root", str(tmp_path)])

    assert run("accept").exit_code == 0
    assert "docs/api.md is out of date: run make contracts" in run("check").stderr
    assert run("write").exit_code == 0
    assert run("check").exit_code == 0
    with (tmp_path / "docs/asyncapi.yaml").open("a") as file:
        file.write("# by hand\n")
    stale = run("check")
    assert stale.exit_code == 1
    assert "docs/asyncapi.yaml is out of date" in stale.stderr
    assert "docs/api.md" not in stale.stderr


# docs/api.md


def test_every_element_of_the_contracts_is_in_the_reference_with_its_comment(contracts):
    reference = api_reference(contracts)
    assert [file.name for file in contracts if file.messages]
    for file in contracts:
        assert file.comment in reference
        for service in file.services:
            assert service.comment in reference
            for method in service.methods:
                assert f"### {service.name.rpartition('.')[2]}.{method.name}\n\n{method.comment}\n" in reference
        for message in file.messages:
            assert f"### {message.name.removeprefix(file.package + '.')}\n\n{message.comment}" in reference
            for field in message.fields:
                row = rf"^\| `{field.name}` \| {field.number} \| .*{field.type.rpartition('.')[2]}"
                assert re.search(row, reference, re.MULTILINE)
        for enum in file.enums:
            for value in enum.values:
                assert f"| `{value.name}` | {value.number} | {value.comment.splitlines()[0]}" in reference


def test_every_link_of_the_reference_leads_to_a_heading(contracts):
    reference = api_reference(contracts)
    headings = re.findall(r"^#+ (.+)$", reference, re.MULTILINE)
    anchors = ["#" + re.sub(r"[^a-z0-9_-]", "", heading.lower().replace(" ", "-")) for heading in headings]
    assert len(set(anchors)) == len(anchors)
    links = set(re.findall(r"\]\((#[^)]*)\)", reference))
    assert len(links) > 20
    assert links <= set(anchors)


def test_the_reference_shows_streaming_presence_repetition_oneofs_maps_and_nested_types(tmp_path):
    (tmp_path / "zoo.proto").write_text(
        """\
// Animals | and more.
syntax = "proto3";
package zoo.v1;
// Keeps them.
service Zoo {
  // Follows
  // animals.
  rpc Follow(stream Animal) returns (stream Cage.Plate);
}
// An animal.
message Animal {
  // Its name,
  // or a | b.
  string name = 1;
  // Its age.
  optional uint32 age = 2;
  // Its cages.
  repeated Cage cages = 3;
  // Its notes.
  map<string, int64> notes = 4;
  oneof food {
    // Leaves.
    bool leaves = 5;
  }
}
// A cage.
message Cage {
  // What hangs on it.
  message Plate {}
}
"""
    )
    reference = api_reference(read_contracts(tmp_path))
    assert (
        "### Zoo.Follow\n\nFollows\nanimals.\n\nBidirectional streaming: [Animal](#animal) → [Cage.Plate](#cageplate)"
        in (reference)
    )
    assert "| `name` | 1 | `string` | Its name, or a \\| b. |" in reference
    assert "| `age` | 2 | optional `uint32` | Its age. |" in reference
    assert "| `cages` | 3 | repeated [Cage](#cage) | Its cages. |" in reference
    assert "| `notes` | 4 | `map<string, int64>` | Its notes. |" in reference
    assert "| `leaves` | 5 | `bool`, in the oneof `food` | Leaves. |" in reference
    assert "### Cage.Plate\n\nWhat hangs on it.\n\nThis message has no fields.\n" in reference


# docs/asyncapi.yaml: the objects of AsyncAPI 3.0.0 and its Kafka bindings 0.5.0 that the document uses.


class _Object(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Reference(_Object):
    ref: str = Field(alias="$ref", pattern=r"^#/")


class _Variable(_Object):
    default: str
    description: str


class _Server(_Object):
    host: str
    protocol: Literal["kafka", "kafka-secure"]
    description: str
    variables: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], _Variable]


class _Schema(_Object):
    type: Literal["object", "string", "null"] | None = None
    description: str | None = None
    required: list[str] | None = None
    properties: dict[str, _Schema] | None = None
    const: str | None = None
    enum: list[str] | None = None
    default: str | None = None
    format: str | None = None
    pattern: str | None = None
    min_length: int | None = Field(default=None, alias="minLength")


class _MultiFormatSchema(_Object):
    schema_format: Literal["application/vnd.google.protobuf;version=3"] = Field(alias="schemaFormat")
    text: str = Field(alias="schema")


class _TopicConfiguration(_Object):
    cleanup_policy: list[Literal["delete", "compact"]] = Field(alias="cleanup.policy")
    retention_ms: int | None = Field(default=None, alias="retention.ms", ge=-1)
    retention_bytes: int | None = Field(default=None, alias="retention.bytes", ge=-1)
    delete_retention_ms: int | None = Field(default=None, alias="delete.retention.ms", ge=0)
    max_message_bytes: int | None = Field(default=None, alias="max.message.bytes", ge=0)


class _KafkaChannel(_Object):
    topic: str
    partitions: int = Field(ge=1)
    replicas: int = Field(ge=1)
    topic_configuration: _TopicConfiguration = Field(alias="topicConfiguration")
    binding_version: Literal["0.5.0"] = Field(alias="bindingVersion")


class _ChannelBindings(_Object):
    kafka: _KafkaChannel


class _Channel(_Object):
    address: str
    description: str
    servers: list[_Reference]
    messages: dict[str, _Reference]
    bindings: _ChannelBindings


class _Operation(_Object):
    action: Literal["send", "receive"]
    channel: _Reference
    summary: str
    messages: list[_Reference]


class _KafkaMessage(_Object):
    key: _Schema
    binding_version: Literal["0.5.0"] = Field(alias="bindingVersion")


class _MessageBindings(_Object):
    kafka: _KafkaMessage


class _Message(_Object):
    name: str | None = None
    title: str
    summary: str | None = None
    description: str | None = None
    content_type: str | None = Field(default=None, alias="contentType")
    headers: _Schema | None = None
    payload: _MultiFormatSchema | _Schema
    bindings: _MessageBindings | None = None


_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]


class _Components(_Object):
    messages: dict[_Name, _Message]


class _Info(_Object):
    title: str
    version: str
    description: str


class _Document(_Object):
    asyncapi: Literal["3.0.0"]
    info: _Info
    content_type: str = Field(alias="defaultContentType")
    servers: dict[_Name, _Server]
    channels: dict[_Name, _Channel]
    operations: dict[_Name, _Operation]
    components: _Components


def references_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [value["$ref"]] if "$ref" in value else [ref for part in value.values() for ref in references_in(part)]
    return [ref for part in value for ref in references_in(part)] if isinstance(value, list) else []


def test_the_topics_document_has_the_structure_of_asyncapi_3(document):
    _Document.model_validate(document)


def test_every_reference_of_the_topics_document_resolves(document):
    references = references_in(document)
    assert len(references) > 20
    for reference in references:
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found


def test_every_declared_topic_is_a_channel_with_a_writer(document, topics):
    channels = {channel["address"]: (name, channel) for name, channel in document["channels"].items()}
    assert set(channels) == set(topics)
    for topic, declaration in topics.items():
        name, channel = channels[topic]
        kafka = channel["bindings"]["kafka"]
        assert (kafka["topic"], kafka["partitions"]) == (topic, declaration.partitions)
        assert ",".join(kafka["topicConfiguration"]["cleanup.policy"]) == declaration.config["cleanup.policy"]
        actions = [
            operation["action"]
            for operation in document["operations"].values()
            if operation["channel"]["$ref"] == f"#/channels/{name}"
        ]
        assert "send" in actions


def test_the_payload_of_each_message_is_its_complete_contract(document, contracts, tmp_path):
    declared = {name: element for file in contracts for name, element in file.declared.items()}
    compared = 0
    for message in document["components"]["messages"].values():
        if "schemaFormat" not in message["payload"]:
            continue
        folder = tmp_path / message["name"]
        folder.mkdir()
        (folder / "message.proto").write_text(message["payload"]["schema"])
        (compiled,) = read_contracts(folder)
        assert message["name"] in compiled.declared
        for name, element in compiled.declared.items():
            assert element == declared[name]
            compared += 1
    assert compared > 8


def test_the_described_headers_are_those_of_the_envelope(document):
    from datetime import UTC, datetime

    from services.common.encryption.headers import ALGORITHM, ENCRYPTION_HEADER, KEY_ID_HEADER

    message = document["components"]["messages"]["LearnerEvent"]
    written = envelope.cloud_event_headers(
        event_id="1", source="quiz", event_type="cairn.v1.AssessmentEvent", time=datetime(2026, 1, 2, tzinfo=UTC)
    )
    described = message["headers"]
    assert described["required"] == [name for name, _ in written]
    assert set(described["properties"]) == {*described["required"], "traceparent", ENCRYPTION_HEADER, KEY_ID_HEADER}
    assert described["properties"][ENCRYPTION_HEADER]["const"] == ALGORITHM.decode()
    for name, value in written:
        schema = described["properties"][name]
        assert schema.get("const", value.decode()) == value.decode()
        assert value.decode() in schema.get("enum", [value.decode()])


def test_the_described_headers_of_dead_letters_are_those_the_worker_adds(document):
    from services.recommender.application.ports.log import DeadLetter
    from services.recommender.wire.dead_letters import headers_of_letter

    letter = DeadLetter(
        partition=3, offset=7, key=None, value=b"", headers=[("ce_id", b"1")], code="undecodable", reason="cut short"
    )
    written = headers_of_letter(letter, "cairn.learner-events")
    described = document["components"]["messages"]["DeadLetter"]["headers"]
    assert described["required"] == [name for name, _ in written[1:]]
    assert list(described["properties"]) == described["required"]


def test_the_described_keys_are_those_of_the_envelope(document):
    from services.common.auth.identity import pseudonym

    messages = document["components"]["messages"]

    def pattern(name):
        return re.compile(messages[name]["bindings"]["kafka"]["key"]["pattern"])

    learner_key = envelope.record_key("river-bend", pseudonym(b"s" * 16, "ada")).decode()
    assert pattern("LearnerEvent").match(learner_key)
    assert not pattern("LearnerEvent").match("river-bend/ada")
    assert pattern("Resource").match(envelope.record_key("river-bend", "lesson/7 é").decode())
    assert not pattern("Resource").match("River Bend/lesson")


def test_a_compacted_topic_says_what_a_null_value_means(document):
    assert document["components"]["messages"]["SkillRemoved"]["payload"] == {"type": "null"}
    assert "LearnerEventRemoved" not in document["components"]["messages"]


DECLARED = TopicDeclaration(partitions=1, config={"cleanup.policy": "compact"})


@pytest.mark.parametrize(
    ("topics", "comments", "said"),
    [
        ({"cairn.loans": DECLARED}, ["A loan."], "no message says that it is the value of the topic cairn.loans"),
        (
            {"cairn.loans": DECLARED},
            ["Value of the topic `cairn.loans`, under the key `tenant/id`."] * 2,
            "a.v1.Thing0 and a.v1.Thing1 both say that they are on the topic cairn.loans",
        ),
        (
            {"cairn.loans": DECLARED},
            ["Value of the topic `cairn.loans`, under the key `loan`."],
            "its key is 'loan'; known are 'tenant/learner', 'tenant/id'",
        ),
        (
            {"cairn.loans": DECLARED},
            ["Value of the topic `cairn.loans`, under the key `tenant/id`."],
            "no writers or readers are known for the topic cairn.loans",
        ),
    ],
)
def test_missing_information_for_the_topics_document_is_an_error(tmp_path, topics, comments, said):
    messages = "\n".join(f"// {comment}\nmessage Thing{number} {{}}" for number, comment in enumerate(comments))
    (tmp_path / "a.proto").write_text(f'syntax = "proto3";\npackage a.v1;\n{messages}\n')
    with pytest.raises(ContractError, match=re.escape(said)):
        asyncapi_document(topics, read_contracts(tmp_path))


def test_a_folder_without_contracts_is_an_error(tmp_path):
    with pytest.raises(ContractError, match="no \\.proto file"):
        compile_protos(tmp_path)


# .pre-commit-config.yaml


def test_every_hook_calls_an_existing_make_target_and_downloads_nothing():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert {hook["id"] for hook in hooks} == {"lint", "test-fast"}
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    for hook in hooks:
        make, target = hook["entry"].split()
        assert (make, hook["language"], hook["pass_filenames"]) == ("make", "system", False)
        assert target in targets


def test_lint_checks_the_contracts():
    (prerequisites,) = re.findall(r"^lint: (.*?)##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "contracts-check" in prerequisites.split()


# OpenAPI.


def test_every_rpc_is_an_operation_with_its_body_its_answer_and_its_errors(contracts, openapi):
    operations = {
        operation["operationId"]: (verb, operation)
        for verbs in openapi["paths"].values()
        for verb, operation in verbs.items()
    }
    methods = [method for file in contracts for service in file.services for method in service.methods]
    assert set(operations) == {method.name for method in methods}
    for method in methods:
        verb, operation = operations[method.name]
        assert ("requestBody" in operation) is (verb not in {"get", "delete"})
        (answer,) = operation["responses"]["200"]["content"].values()
        assert answer["schema"] == {"$ref": f"#/components/schemas/{method.reply.rpartition('.')[2]}"}
        assert operation["responses"]["default"] == {"$ref": "#/components/responses/Error"}


def test_its_schemas_are_valid_and_every_reference_resolves(openapi):
    schemas = openapi["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    text = yaml.safe_dump(openapi)
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) == set(schemas)


def test_a_path_has_exactly_the_parameters_it_names(openapi):
    for path, verbs in openapi["paths"].items():
        for operation in verbs.values():
            named = [each["name"] for each in operation.get("parameters", []) if each["in"] == "path"]
            assert named == re.findall(r"\{(.*?)\}", path)
    # Two templates that differ in names alone would be one path.
    bare = [re.sub(r"\{.*?\}", "{}", path) for path in openapi["paths"]]
    assert len(bare) == len(set(bare))


def test_a_schema_has_what_the_json_of_protobuf_has(openapi):
    schemas = openapi["components"]["schemas"]
    position = schemas["LogPosition"]["properties"]
    assert (position["partition"]["type"], position["offset"]["type"]) == ("integer", "string")
    submission = schemas["EventSubmission"]
    assert submission["additionalProperties"] is False
    assert submission["properties"]["occurred_at"]["format"] == "date-time"
    assert "At most one of `body`" in submission["properties"]["assessment"]["description"]
    assert "RESOURCE_KIND_GAME" in schemas["ResourceKind"]["enum"]
    assert schemas["Skill"]["properties"]["prerequisites"]["items"] == {"type": "string"}
