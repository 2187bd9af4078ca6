"""Get and list: one record by id, or the records in the order of their ids, a page at a time."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.catalog.domain.contents import Shelf
from services.catalog.domain.model import Resource, Skill

PAGE_SIZE_MAX = 1_000
PAGE_SIZE_DEFAULT = 100

_TOKEN_VERSION = b"1"

Record = TypeVar("Record", Skill, Resource)


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


def page_of(shelf: Shelf[Record], page_size: int, page_token: str) -> Page[Record]:
    """A page of a shelf.

    A token names the last id of the page before, so a page is neither shifted nor repeated by records that come or go
    in between.

    Args:
        shelf: the records.
        page_size: at most this many; 0: 100.
        page_token: `page_token_after` the last record already seen; empty: from the start.

    Raises:
        PageRequestInvalidError: when the size is out of range or the token is not one of these.
    """
    if not 0 <= page_size <= PAGE_SIZE_MAX:
        raise PageRequestInvalidError("page_size", f"{page_size} must be from 1 to {PAGE_SIZE_MAX:,}, or 0 for 100")
    size = page_size or PAGE_SIZE_DEFAULT
    records = shelf.page(_id_of(page_token), size + 1)
    return Page(records[:size], more=len(records) > size, total=len(shelf))


def page_token_after(identifier: str) -> str:
    """The token of the page that begins after a record."""
    return base64.urlsafe_b64encode(_TOKEN_VERSION + identifier.encode()).decode().rstrip("=")


def _id_of(page_token: str) -> str:
    if not page_token:
        return ""
    try:
        raw = base64.b64decode(page_token + "=" * (-len(page_token) % 4), altchars=b"-_", validate=True)
        if raw.startswith(_TOKEN_VERSION):
            return raw.removeprefix(_TOKEN_VERSION).decode()
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise _token_invalid(page_token) from error
    raise _token_invalid(page_token)


def _token_invalid(page_token: str) -> PageRequestInvalidError:
    reason = f"{page_token[:80]!r} is not a page token; pass next_page_token of the page before unchanged"
    return PageRequestInvalidError("page_token", reason)
