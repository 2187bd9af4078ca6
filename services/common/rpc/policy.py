"""What the contracts require of each method: `option (cairn.v1.method)` in the `.proto` files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from cairn.v1 import options_pb2
from services.common.auth.tenant import Scope

_METHODS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class MethodPolicy:
    """The policy of a method. Without an option in its contract, the default applies.

    Attributes:
        scope: the scope that an API key needs to call it.
        audited: whether every call of it is logged.
        items_per_call: how many items of a request count as one call in the limit of a tenant's calls.
    """

    scope: Scope = Scope.ADMIN
    audited: bool = False
    items_per_call: int = 1


@lru_cache(maxsize=_METHODS_MAX)
def policy_of(method: str) -> MethodPolicy:
    """The policy of a method that this process serves, named as `package.Service/Method`."""
    try:
        descriptor = descriptor_pool.Default().FindMethodByName(method.replace("/", "."))
    except KeyError:
        return MethodPolicy()
    return policy_in(descriptor.GetOptions())


def policy_in(options: MethodOptions) -> MethodPolicy:
    """The policy that a method's options declare."""
    declared = options.Extensions[options_pb2.method]
    items_per_call = declared.items_per_call or 1
    if declared.scope == options_pb2.SCOPE_UNSPECIFIED:
        return MethodPolicy(audited=declared.audited, items_per_call=items_per_call)
    name = options_pb2.Scope.Name(declared.scope).removeprefix("SCOPE_")
    return MethodPolicy(Scope[name], declared.audited, items_per_call)


@lru_cache(maxsize=_METHODS_MAX)
def request_of(method: str) -> Descriptor | None:
    """The message of a method's requests; None: the method has no contract."""
    try:
        descriptor = descriptor_pool.Default().FindMethodByName(method.replace("/", "."))
    except KeyError:
        return None
    return descriptor.input_type
