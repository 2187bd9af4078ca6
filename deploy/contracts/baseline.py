"""The baseline: the last accepted contracts, as a FileDescriptorSet in Protobuf's text format.

It is text, so that reviews show what is accepted, and a FileDescriptorSet, so that every Protobuf tool can read it.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from deploy.contracts.source import ContractError

_HEADER = """\
# proto-file: google/protobuf/descriptor.proto
# proto-message: FileDescriptorSet
# The contracts as accepted last. Written by `make contracts-accept`; what stands here may be added to, not changed.
"""


def baseline_text(descriptors: FileDescriptorSet) -> str:
    """The baseline's text for these descriptors, without comments and source positions."""
    accepted = FileDescriptorSet()
    accepted.CopyFrom(descriptors)
    for file in accepted.file:
        file.ClearField("source_code_info")
    return _HEADER + text_format.MessageToString(accepted)


def read_baseline(path: Path) -> FileDescriptorSet:
    """The accepted contracts.

    Raises:
        ContractError: when the file is missing or is not what `baseline_text` writes.
    """
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), FileDescriptorSet())
    except FileNotFoundError as error:
        raise ContractError(f"there is no baseline at {path}; write one with: make contracts-accept") from error
    except text_format.ParseError as error:
        raise ContractError(f"the baseline {path} cannot be read: {error}; restore it from version control") from error
