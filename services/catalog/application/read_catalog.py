"""Get and list: one record by id, or the records in the order of their ids, a page at a time."""

from __future__ import annotations

import base64
import binascii
import hashlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import Generic, TypeVar

from services.catalog.domain.contents import Shelf
from services.catalog.domain.model import Resource, ResourceKind, ResourceStatus, Rule, Skill

PAGE_SIZE_MAX = 1_000
PAGE_SIZE_DEFAULT = 100

_TOKEN_VERSION = b"2"
_SCOPE_BYTES = 6
_KEPT_FILTERS = 16

Record = TypeVar("Record", Skill, Resource, Rule)


@dataclass(frozen=True, slots=True)
class ResourceFilter:
    """Which resources to list. An empty field lets everything through; None among kinds or statuses lets nothing.

    Attributes:
        kinds: only these.
        statuses: only in these.
        skills: only about at least one of these.
        providers: only of these.
        grades: only for at least one of these, or for any grade.
        languages: only in one of these, in lower case, or tied to none.
        topics: only about at least one of these.
        untagged: only those without any tag (True) or with one (False).
    """

    kinds: frozenset[ResourceKind | None] = frozenset()
    statuses: frozenset[ResourceStatus | None] = frozenset()
    skills: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    grades: frozenset[str] = frozenset()
    languages: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    untagged: bool | None = None

    def lets_through(self, resource: Resource) -> bool:
        """Whether a resource is as every field says."""
        return (
            (not self.kinds or resource.kind in self.kinds)
            and (not self.statuses or resource.status in self.statuses)
            and (not self.providers or resource.provider in self.providers)
            and (not self.grades or not resource.grades or not self.grades.isdisjoint(resource.grades))
            and (not self.languages or not resource.language or resource.language.lower() in self.languages)
            and (not self.topics or not self.topics.isdisjoint(resource.topics))
            and (not self.skills or any(tag.skill in self.skills for tag in resource.tags))
            and (self.untagged is None or self.untagged is not bool(resource.tags))
        )

    @property
    def scope(self) -> str:
        """Equal for equal filters: what a page token belongs to."""
        fields = (getattr(self, field.name) for field in dataclass_fields(self))
        return repr([sorted(map(str, field)) if isinstance(field, frozenset) else field for field in fields])


ALL_RESOURCES = ResourceFilter()


class PageRequestInvalidError(ValueError):
    """A page size or token cannot be used.

    Attributes:
        field: `page_size` or `page_token`.
    """

    def __init__(self, field: str, reason: str) -> None:
        """Args: the field at fault, and the value with what would be right."""
        super().__init__(reason)
        self.field = field


@dataclass(frozen=True, slots=True)
class Page(Generic[Record]):
    """Some records in the order of their ids.

    Attributes:
        records: the records.
        more: whether others follow.
        total: how many there are in all.
    """

    records: Sequence[Record]
    more: bool
    total: int


def page_of(shelf: Mapping[str, Record], page_size: int, page_token: str, scope: str = "") -> Page[Record]:
    """A page of records that are in the order of their ids.

    A token names the last id of the page before, so a page is neither shifted nor repeated by records that come or go
    in between, and what was asked for, so that it cannot go on with something else.

    Args:
        shelf: the records.
        page_size: at most this many; 0: 100.
        page_token: `page_token_after` the last record already seen; empty: from the start.
        scope: what is asked for beside size and token.

    Raises:
        PageRequestInvalidError: when the size is out of range or the token is not one of these.
    """
    if not 0 <= page_size <= PAGE_SIZE_MAX:
        raise PageRequestInvalidError("page_size", f"{page_size} must be from 1 to {PAGE_SIZE_MAX:,}, or 0 for 100")
    size = page_size or PAGE_SIZE_DEFAULT
    after = _id_of(page_token, scope)
    if isinstance(shelf, Shelf):
        records = shelf.page(after, size + 1)
    else:
        ids = list(shelf)
        start = bisect_right(ids, after)
        records = [shelf[identifier] for identifier in ids[start : start + size + 1]]
    return Page(records[:size], more=len(records) > size, total=len(shelf))


def page_token_after(identifier: str, scope: str = "") -> str:
    """The token of the page that begins after a record."""
    return base64.urlsafe_b64encode(_TOKEN_VERSION + _digest(scope) + identifier.encode()).decode().rstrip("=")


class FilteredResources:
    """Which resources a filter lets through, kept until the resources change: pages of one listing cost one pass."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ResourceFilter], tuple[int, dict[str, Resource]]] = OrderedDict()

    def of(self, tenant: str, shelf: Shelf[Resource], wanted: ResourceFilter) -> Mapping[str, Resource]:
        """The tenant's resources that the filter lets through, in the order of their ids."""
        if wanted == ALL_RESOURCES:
            return shelf
        kept = self._kept.pop((tenant, wanted), None)
        if kept is None or kept[0] != shelf.revision:
            let_through = {name: resource for name, resource in shelf.items() if wanted.lets_through(resource)}
            kept = (shelf.revision, let_through)
        self._kept[tenant, wanted] = kept
        if len(self._kept) > _KEPT_FILTERS:
            self._kept.popitem(last=False)
        return kept[1]


def _digest(scope: str) -> bytes:
    return hashlib.blake2b(scope.encode(), digest_size=_SCOPE_BYTES).digest()


def _id_of(page_token: str, scope: str) -> str:
    if not page_token:
        return ""
    try:
        raw = base64.b64decode(page_token + "=" * (-len(page_token) % 4), altchars=b"-_", validate=True)
        identifier = raw[len(_TOKEN_VERSION) + _SCOPE_BYTES :].decode()
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise _token_invalid(page_token) from error
    if not raw.startswith(_TOKEN_VERSION) or not identifier:
        raise _token_invalid(page_token)
    if not raw.startswith(_TOKEN_VERSION + _digest(scope)):
        reason = "it goes on with another listing; ask with the filter of the page before, or leave the token out"
        raise PageRequestInvalidError("page_token", reason)
    return identifier


def _token_invalid(page_token: str) -> PageRequestInvalidError:
    reason = f"{page_token[:80]!r} is not a page token; pass next_page_token of the page before unchanged"
    return PageRequestInvalidError("page_token", reason)
