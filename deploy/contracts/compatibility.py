"""Compatibility of contracts: elements may be added; existing elements of the baseline do not change.

Today's programs read data written by yesterday's, and the log keeps it for years. A contract is therefore compared
element by element with the last accepted baseline: its meaning on the wire (numbers, types, cardinality, oneofs,
reserved numbers), in Protobuf-JSON and generated code (names), and in calls (RPCs, their types, streaming and scopes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

from cairn.v1 import options_pb2
from deploy.contracts.source import cardinality_of, oneof_of, streaming_of, type_of
from deploy.http_rules import http_rule_in
from services.common.rpc.policy import policy_in

_OLD_DATA = "existing records are read differently or not at all"
_OLD_NAMES = "Protobuf-JSON and existing programs use the old name"
_OLD_CALLERS = "existing programs call the old form"
_OLD_KEYS = "API keys with only the old scope get PERMISSION_DENIED"


@dataclass(frozen=True, slots=True)
class Break:
    """One change that breaks readers of old data or existing programs.

    Attributes:
        element: full name of what changed, for example `cairn.v1.Resource.title`.
        change: what changed, from what to what.
        consequence: who breaks, and how.
    """

    element: str
    change: str
    consequence: str

    def __str__(self) -> str:
        return f"{self.element} {self.change}: {self.consequence}"


def breaks_between(baseline: FileDescriptorSet, current: FileDescriptorSet) -> list[Break]:
    """The changes in `current` that break `baseline`, in the order of the baseline; empty when it only adds."""
    before, after = _Index.of(baseline), _Index.of(current)
    found = [
        Break(name, f"changed its syntax from {syntax} to {after.syntaxes[name]}", _OLD_DATA)
        for name, syntax in before.syntaxes.items()
        if after.syntaxes.get(name, syntax) != syntax
    ]
    for name, message in before.messages.items():
        if name in after.messages:
            found += _message_breaks(name, message, after.messages[name])
        else:
            found.append(Break(name, "was removed", "nothing can read its records or make its calls any more"))
    for name, enum in before.enums.items():
        if name in after.enums:
            found += _enum_breaks(name, enum, after.enums[name])
        else:
            found.append(Break(name, "was removed", "existing fields of this type lose their meaning"))
    for name, service in before.services.items():
        if name in after.services:
            found += _service_breaks(name, service, after.services[name])
        else:
            found.append(Break(name, "was removed", "callers get UNIMPLEMENTED"))
    found += [
        Break(name, f"moved from {file} to {after.files[name]}", "programs import it from its old place")
        for name, file in before.files.items()
        if after.files.get(name, file) != file
    ]
    return found


@dataclass(frozen=True, slots=True)
class _Index:
    """Everything declared, by full name; `files` maps names to files, `syntaxes` files to syntaxes."""

    messages: dict[str, DescriptorProto]
    enums: dict[str, EnumDescriptorProto]
    services: dict[str, ServiceDescriptorProto]
    files: dict[str, str]
    syntaxes: dict[str, str]

    @classmethod
    def of(cls, descriptors: FileDescriptorSet) -> _Index:
        index = cls({}, {}, {}, {}, {})
        for file in descriptors.file:
            index.syntaxes[file.name] = file.syntax or "proto2"
            for message in file.message_type:
                index._add_message(f"{file.package}.{message.name}", message)
            for enum in file.enum_type:
                index.enums[f"{file.package}.{enum.name}"] = enum
            for service in file.service:
                index.services[f"{file.package}.{service.name}"] = service
            tops = [message.name for message in file.message_type] + [enum.name for enum in file.enum_type]
            for top in [*tops, *(service.name for service in file.service)]:
                index.files[f"{file.package}.{top}"] = file.name
        return index

    def _add_message(self, name: str, message: DescriptorProto) -> None:
        self.messages[name] = message
        for nested in message.nested_type:
            self._add_message(f"{name}.{nested.name}", nested)
        for enum in message.enum_type:
            self.enums[f"{name}.{enum.name}"] = enum


def _message_breaks(name: str, before: DescriptorProto, after: DescriptorProto) -> Iterator[Break]:
    by_number = {field.number: field for field in after.field}
    by_name = {field.name: field for field in after.field}
    for field in before.field:
        element = f"{name}.{field.name}"
        same = by_number.get(field.number)
        namesake = by_name.get(field.name)
        if namesake is not None and namesake.number != field.number:
            change = f"changed its number from {field.number} to {namesake.number}"
            yield Break(element, change, "a value written under the old number is not found under the new one")
        elif same is None:
            yield Break(element, f"(number {field.number}) was removed", "existing values are silently dropped")
        else:
            yield from _field_breaks(element, (field, before), (same, after))
    # Ends are exclusive in messages.
    yield from _reserved_breaks(
        name,
        (range(reserved.start, reserved.end) for reserved in before.reserved_range),
        [range(reserved.start, reserved.end) for reserved in after.reserved_range],
    )
    yield from _reserved_name_breaks(name, before.reserved_name, after.reserved_name)


def _field_breaks(
    element: str,
    before: tuple[FieldDescriptorProto, DescriptorProto],
    after: tuple[FieldDescriptorProto, DescriptorProto],
) -> Iterator[Break]:
    (old, old_message), (new, new_message) = before, after
    if old.name != new.name:
        yield Break(element, f"(number {old.number}) was renamed to {new.name}", _OLD_NAMES)
    elif old.json_name != new.json_name:
        yield Break(element, f"changed its JSON name from {old.json_name} to {new.json_name}", _OLD_NAMES)
    if (old_type := type_of(old)) != (new_type := type_of(new)):
        yield Break(element, f"changed its type from {old_type} to {new_type}", _OLD_DATA)
    old_cardinality, new_cardinality = cardinality_of(old, old_message), cardinality_of(new, new_message)
    if old_cardinality != new_cardinality:
        change = f"changed its cardinality from {old_cardinality} to {new_cardinality}"
        lost = (
            "readers can no longer tell whether it was set, or expect this where it was not recorded"
            if {old_cardinality, new_cardinality} == {"singular", "optional"}
            else "readers keep one of several values, or the reverse"
        )
        yield Break(element, change, lost)
    if (old_oneof := oneof_of(old, old_message)) != (new_oneof := oneof_of(new, new_message)):
        change = f"moved from {_oneof_named(old_oneof)} to {_oneof_named(new_oneof)}"
        yield Break(element, change, "setting it clears other fields, or no longer does, so readers see another record")


def _oneof_named(oneof: str) -> str:
    return f"the oneof {oneof}" if oneof else "no oneof"


def _enum_breaks(name: str, before: EnumDescriptorProto, after: EnumDescriptorProto) -> Iterator[Break]:
    numbers = {value.name: value.number for value in after.value}
    names = {value.number: value.name for value in after.value}
    for value in before.value:
        element = f"{name}.{value.name}"
        number = numbers.get(value.name)
        if number == value.number:
            continue
        if number is not None:
            change = f"changed its number from {value.number} to {number}"
            yield Break(element, change, "existing values mean something else")
        elif value.number in names:
            yield Break(element, f"(number {value.number}) was renamed to {names[value.number]}", _OLD_NAMES)
        else:
            yield Break(element, f"(number {value.number}) was removed", "existing values have no meaning")
    # Ends are inclusive in enums.
    yield from _reserved_breaks(
        name,
        (range(reserved.start, reserved.end + 1) for reserved in before.reserved_range),
        [range(reserved.start, reserved.end + 1) for reserved in after.reserved_range],
    )
    yield from _reserved_name_breaks(name, before.reserved_name, after.reserved_name)


def _service_breaks(name: str, before: ServiceDescriptorProto, after: ServiceDescriptorProto) -> Iterator[Break]:
    methods = {method.name: method for method in after.method}
    for method in before.method:
        element = f"{name}.{method.name}"
        if method.name in methods:
            yield from _method_breaks(element, method, methods[method.name])
        else:
            yield Break(element, "was removed", "callers get UNIMPLEMENTED")


def _method_breaks(element: str, before: MethodDescriptorProto, after: MethodDescriptorProto) -> Iterator[Break]:
    changes = (
        ("request", before.input_type.lstrip("."), after.input_type.lstrip(".")),
        ("reply", before.output_type.lstrip("."), after.output_type.lstrip(".")),
        ("streaming", streaming_of(before), streaming_of(after)),
    )
    for what, old, new in changes:
        if old != new:
            yield Break(element, f"changed its {what} from {old} to {new}", _OLD_CALLERS)
    old_scope, new_scope = policy_in(before.options).scope, policy_in(after.options).scope
    # A baseline from before the option existed says nothing about the scope.
    if before.options.HasExtension(options_pb2.method) and new_scope is not old_scope:
        yield Break(element, f"changed its scope from {old_scope} to {new_scope}", _OLD_KEYS)
    old_rule, new_rule = http_rule_in(before.options), http_rule_in(after.options)
    if old_rule is not None and new_rule != old_rule:
        yield Break(element, f"changed its HTTP rule from {old_rule!r} to {new_rule!r}", _OLD_CALLERS)


def _reserved_breaks(name: str, before: Iterable[range], after: list[range]) -> Iterator[Break]:
    for reserved in before:
        remaining = reserved
        for kept in sorted(after, key=lambda numbers: numbers.start):
            if kept.start <= remaining.start < kept.stop:
                remaining = range(min(kept.stop, remaining.stop), remaining.stop)
        if remaining:
            numbers = _numbers_named(reserved)
            change = f"no longer reserves {numbers} (number {remaining.start} is free)"
            yield Break(name, change, "a new field or value with that number would be read from old records")


def _numbers_named(numbers: range) -> str:
    if len(numbers) == 1:
        return f"number {numbers.start}"
    return f"numbers {numbers.start} to {numbers.stop - 1}"


def _reserved_name_breaks(name: str, before: Iterable[str], after: Iterable[str]) -> Iterator[Break]:
    kept = set(after)
    for reserved in before:
        if reserved not in kept:
            change = f"no longer reserves the name {reserved}"
            yield Break(name, change, "a new field or value with that name would be read from old Protobuf-JSON")
