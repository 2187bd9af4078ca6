"""Get and list: one record by id, or pages of records in the order of their ids."""

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

from services.catalog.domain.contents import SortedRecords
from services.catalog.domain.model import Resource, ResourceStatus, Rule, Skill
from services.common.resource_kinds import ResourceKindName

PAGE_SIZE_MAX = 1_000
PAGE_SIZE_DEFAULT = 100

_TOKEN_VERSION = b"2"
_SCOPE_BYTES = 6
_KEPT_FILTERS = 16

Record = TypeVar("Record", Skill, Resource, Rule)


@dataclass(frozen=True, slots=True)
class ResourceFilter:
    """Which resources to list. An empty field matches everything; None among kinds or statuses matches nothing.

    Attributes:
        kinds: kinds of resource.
        statuses: their statuses.
        skills: at least one of these is taught or assessed.
        providers: their providers.
        grades: for at least one of these, or for any grade.
        languages: in one of these, in lower case, or in no particular language.
        topics: about at least one of these.
        untagged: True: without any tag; False: with a tag; None: either.
    """

    kinds: frozenset[ResourceKindName | None] = frozenset()
    statuses: frozenset[ResourceStatus | None] = frozenset()
    skills: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    grades: frozenset[str] = frozenset()
    languages: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    untagged: bool | None = None

    def matches(self, resource: Resource) -> bool:
        """Whether a resource matches every field."""
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
        """Identifies the filter in page tokens; equal for equal filters."""
        fields = (getattr(self, field.name) for field in dataclass_fields(self))
        return repr([sorted(map(str, field)) if isinstance(field, frozenset) else field for field in fields])


ALL_RESOURCES = ResourceFilter()


class PageRequestInvalidError(ValueError):
    """A page size or token cannot be used.

    Attributes:
        field: `page_size` or `page_token`.
    """

    def __init__(self, field: str, reason: str) -> None:
        """Args: the field, and the value with the remedy."""
        super().__init__(reason)
        self.field = field


@dataclass(frozen=True, slots=True)
class Page(Generic[Record]):
    """Some records in the order of their ids.

    Attributes:
        records: the records of the page.
        more: whether there are further pages.
        total: the number of records on all pages.
    """

    records: Sequence[Record]
    more: bool
    total: int


def page_of(listing: Mapping[str, Record], page_size: int, page_token: str, scope: str = "") -> Page[Record]:
    """A page of records that are in the order of their ids.

    A token holds the last id of the previous page, so records that are added or removed in between neither shift nor
    repeat a page. It also holds the scope, so that it cannot continue another listing.

    Args:
        listing: the records by id, in the order of their ids.
        page_size: the most records on the page; 0: 100.
        page_token: `page_token_after` the last record already seen; empty: from the start.
        scope: everything else that the listing depends on.

    Raises:
        PageRequestInvalidError: when the size is out of range or the token is not valid for this listing.
    """
    if not 0 <= page_size <= PAGE_SIZE_MAX:
        raise PageRequestInvalidError("page_size", f"{page_size} must be from 1 to {PAGE_SIZE_MAX:,}, or 0 for 100")
    size = page_size or PAGE_SIZE_DEFAULT
    after = _id_of(page_token, scope)
    if isinstance(listing, SortedRecords):
        records = listing.page(after, size + 1)
    else:
        ids = list(listing)
        start = bisect_right(ids, after)
        records = [listing[identifier] for identifier in ids[start : start + size + 1]]
    return Page(records[:size], more=len(records) > size, total=len(listing))


def page_token_after(identifier: str, scope: str = "") -> str:
    """The token of the page that starts after a record."""
    return base64.urlsafe_b64encode(_TOKEN_VERSION + _digest(scope) + identifier.encode()).decode().rstrip("=")


class FilteredResources:
    """Caches the resources that match a filter until they change, so that the pages of one listing cost one pass."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ResourceFilter], tuple[int, dict[str, Resource]]] = OrderedDict()

    def of(self, tenant: str, resources: SortedRecords[Resource], wanted: ResourceFilter) -> Mapping[str, Resource]:
        """The tenant's resources that match the filter, in the order of their ids."""
        if wanted == ALL_RESOURCES:
            return resources
        kept = self._kept.pop((tenant, wanted), None)
        if kept is None or kept[0] != resources.revision:
            matching = {name: resource for name, resource in resources.items() if wanted.matches(resource)}
            kept = (resources.revision, matching)
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
        reason = "it belongs to another listing; use the filter of the previous page, or leave the token out"
        raise PageRequestInvalidError("page_token", reason)
    return identifier


def _token_invalid(page_token: str) -> PageRequestInvalidError:
    reason = f"{page_token[:80]!r} is not a page token; pass the next_page_token of the previous page unchanged"
    return PageRequestInvalidError("page_token", reason)
