"""`docs/asyncapi.yaml`: the Kafka topics as an AsyncAPI 3.0 document.

Everything in it comes from elsewhere: `deploy/topics.yaml` declares the topics, a message's comment in `protos/` names
the topic it is the value of and its key, and `services.common.kafka.envelope` writes the headers. If one of these is
missing, the generator raises an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from deploy.contracts.source import ContractError, ContractFile, Enum, Message
from deploy.contracts.yaml_text import yaml_text
from services.common.auth.identity import LEARNER_PATTERN, TENANT_PATTERN
from services.common.encryption.headers import ALGORITHM, ENCRYPTION_HEADER, KEY_ID_HEADER
from services.common.kafka.envelope import JSON, LEARNER_EVENTS, PROTOBUF, cloud_event_headers
from services.common.kafka.topics import TopicDeclaration

_HEADING = "# Generated from protos/, deploy/topics.yaml and the envelope by `make contracts`; change those instead.\n"

_BINDING_VERSION = "0.5.0"
_SCHEMA_FORMAT = "application/vnd.google.protobuf;version=3"
_DEAD_LETTERS = ".dlt"

# A message's comment contains: "... the topic `cairn.skills`, under the key `tenant/id`".
_TOPIC_IN_COMMENT = re.compile(r"\btopic `([a-z0-9.-]+)`[^`]*\bkey(?: is)? `([a-z/]+)`")

_KEYS = {
    "tenant/learner": f"^{TENANT_PATTERN.pattern}/{LEARNER_PATTERN.pattern}$",
    "tenant/id": f"^{TENANT_PATTERN.pattern}/.+$",
}

# Topic: (services that write it, services that read it).
_PARTIES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "cairn.learner-events": (("ingest",), ("recommender",)),
    "cairn.learner-events.dlt": (("recommender",), ()),
    "cairn.resources": (("catalog",), ("catalog", "ingest", "recommender")),
    "cairn.skills": (("catalog",), ("catalog", "ingest", "recommender")),
    "cairn.rules": (("catalog",), ("catalog", "recommender")),
    "cairn.learner-keys": (("ingest",), ("ingest", "recommender")),
}

# The topic settings that the Kafka binding supports.
_BOUND_CONFIGURATION = {"cleanup.policy", "retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes"}

_HEADER_SCHEMAS: dict[str, dict[str, Any]] = {
    "ce_specversion": {"type": "string", "const": "1.0", "description": "Version of CloudEvents."},
    "ce_id": {"type": "string", "minLength": 1, "description": "Identity of the event within its source."},
    "ce_source": {"type": "string", "minLength": 1, "description": "The system that observed or produced it."},
    "ce_type": {"type": "string", "description": "Kind of the record: the full name of a message."},
    "ce_time": {"type": "string", "format": "date-time", "description": "When it happened or was created; UTC."},
    "content-type": {
        "type": "string",
        "enum": [PROTOBUF, JSON],
        "default": PROTOBUF,
        "description": "Encoding of the value: Protobuf, or the same message as Protobuf-JSON.",
    },
    "traceparent": {"type": "string", "description": "W3C trace context, if there is one."},
}

# Headers that `services.common.encryption.learner_keys` adds to the records of tenants with encryption.
_ENCRYPTION_HEADERS: dict[str, dict[str, Any]] = {
    ENCRYPTION_HEADER: {
        "type": "string",
        "const": ALGORITHM.decode(),
        "description": "How the value is encrypted: AES-256-GCM; 12 bytes of nonce, then the ciphertext with its tag, "
        "with the record's key as associated data. Absent: the value is not encrypted.",
    },
    KEY_ID_HEADER: {"type": "string", "description": "The key of `cairn.learner-keys` that decrypts the value."},
}

# Headers that `services.recommender.adapters.kafka.dead_letters` adds to a record's own; a test compares the two.
_DEAD_LETTER_HEADERS = {
    "cairn-dlt-code": "Why it could not be applied, as a code.",
    "cairn-dlt-reason": "Why it could not be applied, as a sentence.",
    "cairn-dlt-topic": "Its original topic.",
    "cairn-dlt-partition": "Its original partition, in decimal digits.",
    "cairn-dlt-offset": "Its original offset, in decimal digits. The same record may be in the topic twice.",
}


def asyncapi_document(topics: Mapping[str, TopicDeclaration], files: Sequence[ContractFile]) -> str:
    """The document in YAML.

    Args:
        topics: as declared, by name.
        files: the contracts.

    Raises:
        ContractError: when a topic has no message, no known key or no known writers, or a header is not described.
    """
    carried = _messages_by_topic(files)
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for topic, declaration in topics.items():
        channel = _identifier(topic)
        of_topic = _messages_of(topic, declaration, carried, files)
        messages |= of_topic
        channels[channel] = {
            "address": topic,
            "description": declaration.description,
            "servers": [{"$ref": "#/servers/kafka"}],
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in of_topic},
            "bindings": {"kafka": _channel_binding(topic, declaration)},
        }
        operations |= _operations(topic, channel, of_topic)
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Cairn: topics",
            "version": "v1",
            "description": (
                "The records that Cairn stores on Kafka, as CloudEvents in binary mode: attributes are headers, the "
                "value is the data. The log of learner events is the source of truth, and other learner data is "
                "derived from it."
            ),
        },
        "defaultContentType": PROTOBUF,
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "The cluster named by CAIRN_KAFKA.",
                "variables": {
                    "bootstrap": {"default": "127.0.0.1:9092", "description": "Bootstrap servers, host:port."}
                },
            }
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }
    return _HEADING + yaml_text(document)


def _messages_by_topic(files: Iterable[ContractFile]) -> dict[str, tuple[Message, str]]:
    """For each topic, the message that is its value, and the form of its key."""
    carried: dict[str, tuple[Message, str]] = {}
    for message in (message for file in files for message in file.messages):
        for topic, key in _TOPIC_IN_COMMENT.findall(" ".join(message.comment.split())):
            if topic in carried:
                raise ContractError(
                    f"{carried[topic][0].name} and {message.name} both say that they are on the topic {topic}; "
                    "name the topic in the comment of one of them"
                )
            if key not in _KEYS:
                raise ContractError(
                    f"{message.name} says that its key is {key!r}; known are {', '.join(map(repr, _KEYS))}: "
                    "use one of them, or add its pattern to deploy/contracts/asyncapi.py"
                )
            carried[topic] = (message, key)
    return carried


def _messages_of(
    topic: str,
    declaration: TopicDeclaration,
    carried: Mapping[str, tuple[Message, str]],
    files: Sequence[ContractFile],
) -> dict[str, Any]:
    origin = topic.removesuffix(_DEAD_LETTERS)
    if origin not in carried:
        raise ContractError(
            f"no message says that it is the value of the topic {topic}; write in the comment of one in protos/: "
            f"Value of the topic `{topic}`, under the key `tenant/id`."
        )
    message, key = carried[origin]
    bindings = {"kafka": {"key": {"type": "string", "pattern": _KEYS[key]}, "bindingVersion": _BINDING_VERSION}}
    if topic != origin:
        return {
            "DeadLetter": {
                "title": "A record that could not be applied",
                "summary": f"Key and value exactly as they were in {origin}.",
                "description": "The record's own headers, plus these.",
                "contentType": "application/octet-stream",
                "headers": {
                    "type": "object",
                    "required": list(_DEAD_LETTER_HEADERS),
                    "properties": {
                        name: {"type": "string", "description": meaning}
                        for name, meaning in _DEAD_LETTER_HEADERS.items()
                    },
                },
                "payload": {"description": "The original bytes."},
            }
        }
    name = _short(message.name)
    described = {
        name: {
            "name": message.name,
            "title": _short(message.name),
            "description": message.comment,
            "contentType": PROTOBUF,
            "headers": _headers(_event_types(message), encrypted=topic == LEARNER_EVENTS),
            "payload": {"schemaFormat": _SCHEMA_FORMAT, "schema": _schema_of(message, files)},
            "bindings": bindings,
        }
    }
    if "compact" in declaration.config.get("cleanup.policy", ""):
        described[f"{name}Removed"] = {
            "title": f"{name}, removed",
            "description": "A null value removes the record with the same key. An empty value is not valid.",
            "payload": {"type": "null"},
            "bindings": bindings,
        }
    return described


def _event_types(message: Message) -> list[str]:
    """The values of `ce_type`: the kinds of event if the message wraps several, else the message itself."""
    return [field.type for field in message.fields if field.oneof == "body"] or [message.name]


def _headers(event_types: list[str], *, encrypted: bool) -> dict[str, Any]:
    moment = datetime(2000, 1, 1, tzinfo=UTC)
    always = cloud_event_headers(event_id="id", source="source", event_type="type", time=moment)
    traced = cloud_event_headers(event_id="id", source="source", event_type="type", time=moment, traceparent="trace")
    names = [name for name, _ in traced]
    if unknown := [name for name in names if name not in _HEADER_SCHEMAS]:
        raise ContractError(
            f"the envelope writes the header {unknown[0]}, which nothing describes: "
            "describe it in deploy/contracts/asyncapi.py"
        )
    properties = {name: dict(_HEADER_SCHEMAS[name]) for name in names}
    properties["ce_type"]["enum"] = event_types
    if encrypted:
        properties |= {name: dict(schema) for name, schema in _ENCRYPTION_HEADERS.items()}
    return {"type": "object", "required": [name for name, _ in always], "properties": properties}


def _schema_of(message: Message, files: Sequence[ContractFile]) -> str:
    """The message and everything it refers to, as the lines of `protos/` that declare them."""
    package = next(file.package for file in files if message in file.messages)
    declared: dict[str, Message | Enum] = {name: element for file in files for name, element in file.declared.items()}
    needed: list[str] = []
    imports: set[str] = set()
    waiting = [message.name]
    while waiting:
        name = waiting.pop(0)
        if name.startswith("google.protobuf."):
            imports.add(f"google/protobuf/{_snake(_short(name))}.proto")
        if name not in declared:
            continue
        # Nested elements are part of the lines of their top-level message.
        top = f"{package}.{name.removeprefix(package + '.').partition('.')[0]}"
        if top in needed:
            continue
        needed.append(top)
        for inside, element in declared.items():
            if isinstance(element, Message) and (inside == top or inside.startswith(f"{top}.")):
                waiting += [part for field in element.fields for part in re.findall(r"[\w.]+", field.type)]
    lines = ['syntax = "proto3";', "", f"package {package};"]
    lines += ["", *(f'import "{name}";' for name in sorted(imports))] if imports else []
    for name in needed:
        lines += ["", declared[name].source]
    return "\n".join(lines) + "\n"


def _channel_binding(topic: str, declaration: TopicDeclaration) -> dict[str, Any]:
    config: dict[str, Any] = {
        name: int(value) if re.fullmatch(r"-?[0-9]+", value) else value
        for name, value in declaration.config.items()
        if name in _BOUND_CONFIGURATION
    }
    if "cleanup.policy" in config:
        config["cleanup.policy"] = config["cleanup.policy"].split(",")
    return {
        "topic": topic,
        "partitions": declaration.partitions,
        "replicas": declaration.replication_factor,
        "topicConfiguration": config,
        "bindingVersion": _BINDING_VERSION,
    }


def _operations(topic: str, channel: str, messages: Iterable[str]) -> dict[str, Any]:
    if topic not in _PARTIES:
        raise ContractError(
            f"no writers or readers are known for the topic {topic}: add it to _PARTIES in deploy/contracts/asyncapi.py"
        )
    writers, readers = _PARTIES[topic]
    described = {}
    for action, verb, services in (("send", "writes", writers), ("receive", "reads", readers)):
        for service in services:
            described[f"{service}{verb.capitalize()}{channel[0].upper()}{channel[1:]}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{channel}"},
                "summary": f"The {service} service {verb} {topic}.",
                "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
            }
    return described


def _identifier(topic: str) -> str:
    """`cairn.learner-events` as `learnerEvents`."""
    first, *others = re.split(r"[.-]", topic.partition(".")[2])
    return first + "".join(word.capitalize() for word in others)


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
