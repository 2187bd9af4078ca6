"""`docs/api.md`: the API reference, generated from the comments of the contracts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from deploy.contracts.source import ContractFile, Enum, Field, Message, Service

_INTRODUCTION = """\
<!-- Generated from protos/ by `make contracts`. Change the comments there, not this file. -->

# API

The requests and replies of Cairn's services, as declared in `protos/cairn/v1/`. The API may grow, but existing elements
do not change (`make lint` compares them with the accepted baseline).

Every call needs the metadata `authorization: Bearer <API key>` and a deadline. The key needs the scope of the RPC. An
audited RPC leaves one log line per call, with the key's id and without the payload. The key determines the tenant,
never the payload. Ids of another tenant are treated as absent. Errors are gRPC statuses with `google.rpc` details:
`BadRequest` names the invalid fields, `ErrorInfo` the reason, and `RetryInfo` says when to send the same call again.
The standard health service needs no key. A request holds at most 50,000 values in its repeated fields together.

Every RPC has an HTTP path too, for JSON through the gateway of `deploy/envoy/`: `openapi.yaml` describes them.

A scalar field that is not set reads as zero or empty. An `optional` field tracks whether it was set. Of a `oneof`, at
most one field is set.
"""


def api_reference(files: Sequence[ContractFile]) -> str:
    """The reference in Markdown: services first, then each file's messages and enums, in the order declared."""
    declared = {name for file in files for name in file.declared}
    writer = _Writer(declared)
    services = [service for file in files for service in file.services]
    parts = [_INTRODUCTION, "## Contents\n", writer.contents(files, services)]
    parts += [writer.service(service) for service in services]
    for file in files:
        parts.append(f"## {_heading_of(file)}\n\n{file.comment}\n")
        parts += [writer.message(message) for message in file.messages]
        parts += [writer.enum(enum) for enum in file.enums]
    return "\n".join(parts)


def _heading_of(file: ContractFile) -> str:
    return f"Messages of {PurePosixPath(file.name).name}"


class _Writer:
    """Writes parts of the reference; `declared` are the full names that have a section."""

    def __init__(self, declared: set[str]) -> None:
        self._declared = declared

    def contents(self, files: Sequence[ContractFile], services: Sequence[Service]) -> str:
        lines = [f"- [{_short(service.name)}]({_anchor(_short(service.name))})" for service in services]
        lines += [f"- [{_heading_of(file)}]({_anchor(_heading_of(file))})" for file in files]
        return "\n".join(lines) + "\n"

    def service(self, service: Service) -> str:
        lines = [f"## {_short(service.name)}\n", f"`{service.name}`. {service.comment}\n"]
        for method in service.methods:
            lines += [
                f"### {_short(service.name)}.{method.name}\n",
                f"{method.comment}\n",
                f"{method.streaming.capitalize()}: {self._linked(method.request)} → {self._linked(method.reply)}\n",
                f"Scope: `{method.policy.scope}`{', audited' if method.policy.audited else ''}.\n",
            ]
            if method.http is not None:
                lines.append(f"HTTP: `{method.http}`.\n")
        return "\n".join(lines)

    def message(self, message: Message) -> str:
        lines = [f"### {_short(message.name)}\n", f"{message.comment}\n"]
        if message.fields:
            lines += ["| field | number | type | meaning |", "|---|---|---|---|"]
            lines += [self._field_row(field) for field in message.fields]
        else:
            lines.append("This message has no fields.")
        return "\n".join(lines) + "\n"

    def enum(self, enum: Enum) -> str:
        lines = [f"### {_short(enum.name)}\n", f"{enum.comment}\n", "| value | number | meaning |", "|---|---|---|"]
        lines += [f"| `{value.name}` | {value.number} | {_cell(value.comment)} |" for value in enum.values]
        return "\n".join(lines) + "\n"

    def _field_row(self, field: Field) -> str:
        kind = self._linked(field.type)
        if field.cardinality in {"optional", "repeated"}:
            kind = f"{field.cardinality} {kind}"
        if field.oneof:
            kind = f"{kind}, in the oneof `{field.oneof}`"
        return f"| `{field.name}` | {field.number} | {kind} | {_cell(field.comment)} |"

    def _linked(self, name: str) -> str:
        if name in self._declared:
            return f"[{_short(name)}]({_anchor(_short(name))})"
        return f"`{name}`"


def _short(name: str) -> str:
    """A full name without its package: packages are lower-case, and what they declare is not."""
    parts = name.split(".")
    first = next(index for index, part in enumerate(parts) if part[:1].isupper())
    return ".".join(parts[first:])


def _anchor(heading: str) -> str:
    """The anchor of a heading, as Markdown renderers create it."""
    return "#" + "".join(letter for letter in heading.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")


def _cell(comment: str) -> str:
    return " ".join(comment.split()).replace("|", "\\|")
