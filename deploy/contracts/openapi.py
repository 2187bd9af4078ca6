"""`docs/openapi.yaml`: every RPC as it is called with JSON over HTTP, as an OpenAPI 3.1 document.

Everything in it comes from the contracts: their HTTP rules, their comments, their fields.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from deploy.contracts.source import ContractFile, Enum, Field, Message, Method
from deploy.contracts.yaml_text import yaml_text
from deploy.http_rules import HttpRule

_HEADING = "# Generated from protos/ by `make contracts`; change those instead.\n"

_DESCRIPTION = """\
Cairn's RPCs as JSON over HTTP, through the gateway that `deploy/envoy/` configures. The same keys, scopes, limits and
results as over gRPC.

Names of fields are those of the contracts; a request may also have them in lowerCamelCase. A field that no message has
is refused. An answer leaves out a field that is false, 0 or empty. Numbers of 64 bits are strings. In a path, `/` of an
id is written `%2F`, and `:` is written `%3A`. A request has at most 4 MiB and comes within a minute. An answer comes
within 15 s; what streams has an hour."""

_JSON, _LINES = "application/json", "application/x-ndjson"

_SCALARS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "double": {"type": "number", "format": "double"},
    "uint32": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**32 - 1},
    "uint64": {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"},
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
}

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "description": "The name of a google.rpc.Code."},
                "message": {"type": "string", "description": "What is wrong, and what to do."},
                "reason": {"type": "string", "description": "The reason as one word, for programs."},
                "field_violations": {
                    "type": "array",
                    "description": "The fields at fault.",
                    "items": {
                        "type": "object",
                        "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
                    },
                },
                "retry_after_s": {"type": "number", "description": "When the same request may be sent again."},
            },
        }
    },
}


def openapi_document(files: Sequence[ContractFile]) -> str:
    """The document in YAML."""
    writer = _Writer(files)
    paths: dict[str, dict[str, Any]] = {}
    tags = []
    for service in (service for file in files for service in file.services):
        tags.append({"name": _short(service.name), "description": _line(service.comment)})
        for method in service.methods:
            if method.http is not None:
                paths.setdefault(_path(method.http), {})[method.http.verb] = writer.operation(
                    method, method.http, _short(service.name)
                )
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Cairn",
            "version": "v1",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The gateway that serves this document."}],
        "security": [{"key": []}],
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key with the scope of the RPC."}
            },
            "responses": {
                "Error": {
                    "description": "The request was refused, or failed.",
                    "headers": {
                        "Retry-After": {
                            "description": "With 429 and 503: the seconds to wait.",
                            "schema": {"type": "integer"},
                        }
                    },
                    "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
            },
            "schemas": {"Error": _ERROR} | writer.schemas(),
        },
    }
    return _HEADING + yaml_text(document)


class _Writer:
    """Writes operations and the schemas that they need."""

    def __init__(self, files: Sequence[ContractFile]) -> None:
        self._messages = {message.name: message for file in files for message in file.messages}
        self._enums = {enum.name: enum for file in files for enum in file.enums}
        self._needed: list[str] = []

    def operation(self, method: Method, rule: HttpRule, tag: str) -> dict[str, Any]:
        """What a path does for one verb."""
        request = self._messages[method.request]
        variables = re.findall(r"\{(.*?)\}", rule.path)
        described: dict[str, Any] = {
            "operationId": method.name,
            "tags": [tag],
            "summary": _line(method.comment).partition(". ")[0].rstrip("."),
            "description": f"{_line(method.comment)} Scope: `{method.policy.scope}`.",
            "parameters": [self._path_parameter(request, variable) for variable in variables],
        }
        if rule.body != "*":
            rest = [field for field in request.fields if field.name != rule.body]
            described["parameters"] += list(self._query(rest, "", variables))
        if not described["parameters"]:
            del described["parameters"]
        if rule.body:
            described["requestBody"] = self._body(method, request, rule, variables)
        lines = method.streaming.startswith(("server", "bi"))
        described["responses"] = {
            "200": {
                "description": _line(self._messages[method.reply].comment)
                + (" One on each line, as they come." if lines else ""),
                "content": {_LINES if lines else _JSON: {"schema": self._ref(method.reply)}},
            },
            "default": {"$ref": "#/components/responses/Error"},
        }
        return described

    def schemas(self) -> dict[str, Any]:
        """The schemas of everything that operations refer to, by name."""
        found: dict[str, Any] = {}
        # Writing one may need more.
        while waiting := [name for name in self._needed if _short(name) not in found]:
            for name in waiting:
                enum = self._enums.get(name)
                found[_short(name)] = self._object(self._messages[name], ()) if enum is None else _enum(enum)
        return dict(sorted(found.items()))

    def _body(self, method: Method, request: Message, rule: HttpRule, variables: Sequence[str]) -> dict[str, Any]:
        inside = {variable.removeprefix(f"{rule.body}.") for variable in variables}
        message = request
        if rule.body != "*":
            message = self._messages[_field_of(request, rule.body).type]
        schema = self._object(message, inside) if inside else self._ref(message.name)
        if method.streaming.startswith(("client", "bi")):
            schema = {"type": "array", "items": schema}
        return {"required": True, "content": {_JSON: {"schema": schema}}}

    def _path_parameter(self, request: Message, variable: str) -> dict[str, Any]:
        *outer, name = variable.split(".")
        message = request
        for part in outer:
            message = self._messages[_field_of(message, part).type]
        return {
            "name": name,
            "in": "path",
            "required": True,
            "description": _line(_field_of(message, name).comment),
            "schema": {"type": "string", "minLength": 1},
        }

    def _query(self, fields: Sequence[Field], prefix: str, variables: Collection[str]) -> Iterator[dict[str, Any]]:
        for field in fields:
            name = prefix + field.name
            held = self._messages.get(field.type)
            if held is not None:
                yield from self._query(held.fields, f"{name}.", variables)
            elif name not in variables:
                schema = self._field(field)
                yield {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}

    def _object(self, message: Message, without: Collection[str]) -> dict[str, Any]:
        return {
            "type": "object",
            "description": _line(message.comment),
            "properties": {field.name: self._field(field) for field in message.fields if field.name not in without},
            "additionalProperties": False,
        }

    def _field(self, field: Field) -> dict[str, Any]:
        schema = dict(_SCALARS[field.type]) if field.type in _SCALARS else self._ref(field.type)
        if field.cardinality == "repeated":
            schema = {"type": "array", "items": schema}
        comment = _line(field.comment)
        return schema | {"description": f"{comment} At most one of `{field.oneof}` is set." if field.oneof else comment}

    def _ref(self, name: str) -> dict[str, Any]:
        if name not in self._needed:
            self._needed.append(name)
        return {"$ref": f"#/components/schemas/{_short(name)}"}


def _field_of(message: Message, name: str) -> Field:
    return next(field for field in message.fields if field.name == name)


def _path(rule: HttpRule) -> str:
    """A rule's path. OpenAPI has one name for a variable, whatever it is called for another verb."""
    return re.sub(r"\{\w+\.(\w+)\}", r"{\1}", rule.path)


def _enum(enum: Enum) -> dict[str, Any]:
    meanings = "\n".join(f"- `{value.name}`: {_line(value.comment)}" for value in enum.values)
    return {
        "type": "string",
        "enum": [value.name for value in enum.values],
        "description": f"{_line(enum.comment)}\n\n{meanings}",
    }


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _line(comment: str) -> str:
    return " ".join(comment.split())
