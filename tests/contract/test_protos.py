"""Every element of the contracts has a comment and follows the conventions, and the generated code is up to date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

ROOT = Path(__file__).parents[2] / "protos"
GOOGLE_APIS = Path(annotations_pb2.__file__).parents[2]
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("cairn/v1/*.proto"))

# Field numbers of FileDescriptorProto and its parts, which make up the paths of SourceCodeInfo.
_MESSAGES, _ENUMS, _SERVICES, _EXTENSIONS = 4, 5, 6, 7
_FIELDS, _NESTED_MESSAGES, _NESTED_ENUMS = 2, 3, 4
_VALUES, _METHODS = 2, 2


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory):
    import grpc_tools

    output = tmp_path_factory.mktemp("protos") / "descriptors.bin"
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    arguments = [
        "protoc",
        f"-I{ROOT}",
        f"-I{well_known}",
        f"-I{GOOGLE_APIS}",
        "--include_source_info",
        f"--descriptor_set_out={output}",
    ]
    assert protoc.main([*arguments, *FILES]) == 0
    return descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file


def elements(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    for index, message in enumerate(file.message_type):
        yield from _message(message, (_MESSAGES, index), message.name)
    for index, enum in enumerate(file.enum_type):
        yield from _enum(enum, (_ENUMS, index), enum.name)
    for index, extension in enumerate(file.extension):
        yield extension.name, (_EXTENSIONS, index)
    for index, service in enumerate(file.service):
        yield service.name, (_SERVICES, index)
        for number, method in enumerate(service.method):
            yield f"{service.name}.{method.name}", (_SERVICES, index, _METHODS, number)


def _message(message, path, name):
    yield name, path
    for number, field in enumerate(message.field):
        yield f"{name}.{field.name}", (*path, _FIELDS, number)
    for number, nested in enumerate(message.nested_type):
        yield from _message(nested, (*path, _NESTED_MESSAGES, number), f"{name}.{nested.name}")
    for number, enum in enumerate(message.enum_type):
        yield from _enum(enum, (*path, _NESTED_ENUMS, number), f"{name}.{enum.name}")


def _enum(enum, path, name):
    yield name, path
    for number, value in enumerate(enum.value):
        yield f"{name}.{value.name}", (*path, _VALUES, number)


def test_there_are_contracts_for_every_service():
    assert {Path(name).stem for name in FILES} >= {"events", "ingest", "catalog", "recommender"}


def test_every_message_field_enum_value_and_method_has_a_comment(descriptors):
    unexplained = []
    for file in descriptors:
        explained = {
            tuple(location.path)
            for location in file.source_code_info.location
            if location.leading_comments.strip() or location.trailing_comments.strip()
        }
        unexplained += [f"{file.name}: {name}" for name, path in elements(file) if path not in explained]
    assert unexplained == []


def test_every_method_has_its_own_request_and_reply(descriptors):
    used = [
        kind
        for file in descriptors
        for service in file.service
        for method in service.method
        for kind in (method.input_type, method.output_type)
    ]
    assert len(used) == len(set(used))
    for file in descriptors:
        for service in file.service:
            for method in service.method:
                assert method.input_type.endswith(f".{method.name}Request")
                assert method.output_type.endswith(f".{method.name}Response")


def test_every_enum_starts_with_an_unspecified_zero(descriptors):
    for file in descriptors:
        for enum in file.enum_type:
            assert enum.value[0].number == 0
            assert enum.value[0].name.endswith("_UNSPECIFIED"), enum.name


def test_the_generated_code_is_up_to_date(tmp_path):
    arguments = ["protoc", f"-I{ROOT}", f"--python_out={tmp_path}"]
    import grpc_tools

    well_known = Path(grpc_tools.__file__).parent / "_proto"
    assert protoc.main([*arguments, f"-I{well_known}", f"-I{GOOGLE_APIS}", *FILES]) == 0
    for generated in sorted(tmp_path.rglob("*_pb2.py")):
        checked_in = ROOT / generated.relative_to(tmp_path)
        assert checked_in.read_bytes() == generated.read_bytes(), f"{checked_in.name}: run make protos"
