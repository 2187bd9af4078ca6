"""The contracts compiled from `protos/`, with their comments."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from deploy.http_rules import HttpRule, http_rule_in
from services.common.rpc.policy import MethodPolicy, policy_in

# Field numbers in google/protobuf/descriptor.proto, which make up the paths of SourceCodeInfo.
_FILE_MESSAGES, _FILE_ENUMS, _FILE_SERVICES, _FILE_SYNTAX = 4, 5, 6, 12
_MESSAGE_FIELDS, _MESSAGE_MESSAGES, _MESSAGE_ENUMS = 2, 3, 4
_ENUM_VALUES = 2
_SERVICE_METHODS = 2

# The folder of google/api/annotations.proto.
_GOOGLE_APIS = Path(annotations_pb2.__file__).parents[2]

_TYPE_NAMES = {number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()}

_ElementPath = tuple[int, ...]


class ContractError(ValueError):
    """A contract is invalid; the message names it, the problem and the remedy."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message.

    Attributes:
        name: as declared.
        number: its number on the wire.
        type: `string`, or the full name of a message or an enum, without a leading dot.
        cardinality: `singular`, `optional` (presence is tracked), `repeated` or `map`.
        oneof: the oneof it belongs to; empty if none.
        comment: what it means.
    """

    name: str
    number: int
    type: str
    cardinality: str
    oneof: str
    comment: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message.

    Attributes:
        name: its full name.
        comment: what it means.
        fields: in the order declared.
        source: the lines of its file that declare it, with the comment above them.
    """

    name: str
    comment: str
    fields: tuple[Field, ...]
    source: str


@dataclass(frozen=True, slots=True)
class EnumValue:
    """A value of an enum."""

    name: str
    number: int
    comment: str


@dataclass(frozen=True, slots=True)
class Enum:
    """An enum.

    Attributes:
        name: its full name.
        comment: what it means.
        values: in the order declared.
        source: the lines of its file that declare it, with the comment above them.
    """

    name: str
    comment: str
    values: tuple[EnumValue, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC.

    Attributes:
        name: as declared.
        comment: what it does.
        request: full name of its request.
        reply: full name of its reply.
        streaming: as of `streaming_of`.
        policy: the scope that it needs, and whether it is audited.
        http: how to call it over HTTP; None: it cannot be.
    """

    name: str
    comment: str
    request: str
    reply: str
    streaming: str
    policy: MethodPolicy
    http: HttpRule | None


@dataclass(frozen=True, slots=True)
class Service:
    """A service: its full name, what it does, its RPCs in the order declared."""

    name: str
    comment: str
    methods: tuple[Method, ...]


@dataclass(frozen=True, slots=True)
class ContractFile:
    """One `.proto` file with its comments; nested messages and enums follow the message that contains them."""

    name: str
    package: str
    comment: str
    services: tuple[Service, ...]
    messages: tuple[Message, ...]
    enums: tuple[Enum, ...]

    @property
    def declared(self) -> dict[str, Message | Enum]:
        """Messages and enums by their full names."""
        messages: dict[str, Message | Enum] = {message.name: message for message in self.messages}
        return messages | {enum.name: enum for enum in self.enums}


def compile_protos(root: Path, files: Sequence[str] = ()) -> FileDescriptorSet:
    """The descriptors of the files below `root`, imported files first, with source information.

    Args:
        root: the folder that imports are relative to.
        files: paths relative to `root`; by default every `.proto` file below it.

    Raises:
        ContractError: when there are no files, or the compiler fails; the message is the compiler's.
    """
    chosen = list(files) or sorted(path.relative_to(root).as_posix() for path in root.rglob("*.proto"))
    if not chosen:
        raise ContractError(f"there is no .proto file below {root}")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "descriptors.bin"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", f"-I{_GOOGLE_APIS}"]
        command += ["--include_source_info", f"--descriptor_set_out={output}", *chosen]
        compiled = subprocess.run(command, capture_output=True, text=True, check=False)
        if compiled.returncode:
            raise ContractError(f"the contracts do not compile: {compiled.stderr.strip()}")
        return FileDescriptorSet.FromString(output.read_bytes())


def read_contracts(root: Path) -> list[ContractFile]:
    """Every file below `root`, with its comments.

    Raises:
        ContractError: as `compile_protos`.
    """
    return [_Reader(file, (root / file.name).read_text(encoding="utf-8")).read() for file in compile_protos(root).file]


def type_of(field: FieldDescriptorProto) -> str:
    """The field's type: a scalar's name, or a full name without its leading dot."""
    return field.type_name.lstrip(".") or _TYPE_NAMES[field.type]


def cardinality_of(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    """`singular`, `optional` (presence is tracked), `repeated` or `map`."""
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        own_entries = {entry.name for entry in message.nested_type if entry.options.map_entry}
        return "map" if field.type_name.rpartition(".")[2] in own_entries else "repeated"
    return "optional" if field.proto3_optional else "singular"


def oneof_of(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    """The oneof that the field belongs to; empty if none. The synthetic oneof of an `optional` field does not count."""
    if field.proto3_optional or not field.HasField("oneof_index"):
        return ""
    return message.oneof_decl[field.oneof_index].name


def streaming_of(method: MethodDescriptorProto) -> str:
    """`unary`, or the side that streams."""
    sides = {
        (False, False): "unary",
        (True, False): "client streaming",
        (False, True): "server streaming",
        (True, True): "bidirectional streaming",
    }
    return sides[method.client_streaming, method.server_streaming]


class _Reader:
    """Reads one file's descriptor together with its comments and lines."""

    def __init__(self, file: FileDescriptorProto, text: str) -> None:
        self._file = file
        self._lines = text.splitlines()
        self._locations = {tuple(location.path): location for location in file.source_code_info.location}

    def read(self) -> ContractFile:
        """The file with its comments."""
        file, package = self._file, self._file.package
        messages: list[Message] = []
        enums: list[Enum] = []
        for index, message in enumerate(file.message_type):
            self._read_message(message, f"{package}.{message.name}", (_FILE_MESSAGES, index), messages, enums)
        for index, enum in enumerate(file.enum_type):
            enums.append(self._enum(enum, f"{package}.{enum.name}", (_FILE_ENUMS, index)))
        services = tuple(
            Service(
                f"{package}.{service.name}",
                self._comment((_FILE_SERVICES, index)),
                tuple(
                    Method(
                        method.name,
                        self._comment((_FILE_SERVICES, index, _SERVICE_METHODS, number)),
                        method.input_type.lstrip("."),
                        method.output_type.lstrip("."),
                        streaming_of(method),
                        policy_in(method.options),
                        http_rule_in(method.options),
                    )
                    for number, method in enumerate(service.method)
                ),
            )
            for index, service in enumerate(file.service)
        )
        return ContractFile(file.name, package, self._comment((_FILE_SYNTAX,)), services, tuple(messages), tuple(enums))

    def _read_message(
        self, message: DescriptorProto, name: str, path: _ElementPath, messages: list[Message], enums: list[Enum]
    ) -> None:
        fields = tuple(
            Field(
                field.name,
                field.number,
                _shown_type(field, message),
                cardinality_of(field, message),
                oneof_of(field, message),
                self._comment((*path, _MESSAGE_FIELDS, index)),
            )
            for index, field in enumerate(message.field)
        )
        messages.append(Message(name, self._comment(path), fields, self._source(path)))
        for index, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                self._read_message(nested, f"{name}.{nested.name}", (*path, _MESSAGE_MESSAGES, index), messages, enums)
        for index, enum in enumerate(message.enum_type):
            enums.append(self._enum(enum, f"{name}.{enum.name}", (*path, _MESSAGE_ENUMS, index)))

    def _enum(self, enum: EnumDescriptorProto, name: str, path: _ElementPath) -> Enum:
        values = tuple(
            EnumValue(value.name, value.number, self._comment((*path, _ENUM_VALUES, index)))
            for index, value in enumerate(enum.value)
        )
        return Enum(name, self._comment(path), values, self._source(path))

    def _comment(self, path: _ElementPath) -> str:
        location = self._locations.get(path)
        if location is None:
            return ""
        return "\n".join(
            line.strip() for line in (location.leading_comments or location.trailing_comments).splitlines()
        )

    def _source(self, path: _ElementPath) -> str:
        """The lines that declare an element, with the comment above them."""
        span = self._locations[path].span
        # A span is (line, column, end column) or (line, column, end line, end column), from 0.
        first, last = span[0], span[2] if len(span) == 4 else span[0]
        while first and self._lines[first - 1].startswith("//"):
            first -= 1
        return "\n".join(self._lines[first : last + 1])


def _shown_type(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    if cardinality_of(field, message) != "map":
        return type_of(field)
    (entry,) = (entry for entry in message.nested_type if entry.name == field.type_name.rpartition(".")[2])
    key, value = (type_of(part) for part in entry.field)
    return f"map<{key}, {value}>"
