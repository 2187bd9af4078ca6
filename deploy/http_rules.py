"""How RPCs are called over HTTP: `option (google.api.http)` in the `.proto` files."""

from __future__ import annotations

from dataclasses import dataclass

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import MethodOptions


@dataclass(frozen=True, slots=True)
class HttpRule:
    """How an RPC is called over HTTP.

    Attributes:
        verb: in lower case.
        path: with its variables in braces, each the path of a field.
        body: the field of the request that the body is; `*`: the whole request; empty: none.
    """

    verb: str
    path: str
    body: str

    def __str__(self) -> str:
        return f"{self.verb.upper()} {self.path}"


def http_rule_in(options: MethodOptions) -> HttpRule | None:
    """The HTTP rule that a method's options declare."""
    if not options.HasExtension(annotations_pb2.http):
        return None
    rule = options.Extensions[annotations_pb2.http]
    verb = str(rule.WhichOneof("pattern"))
    return HttpRule(verb, getattr(rule, verb), rule.body)
