"""How many calls a process handles at the same time: in all, of each tenant, and on each connection."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """The most calls at the same time; open streams count.

    Attributes:
        calls: in this process.
        of_tenant: of one tenant.
        on_connection: on one connection.
    """

    calls: int = 200
    of_tenant: int = 100
    on_connection: int = 100


@dataclass(frozen=True, slots=True)
class SlotRefusal:
    """Why there is no slot: a reason in one word, and a sentence with the limit and the remedy."""

    reason: str
    message: str


class Slots:
    """The slots that calls hold. Only authenticated calls take one, so that nobody without an API key can fill them."""

    def __init__(self, limits: SlotLimits) -> None:
        self._limits = limits
        self._of_tenant: Counter[str] = Counter()
        self._on_connection: Counter[str] = Counter()
        self._held = 0

    @property
    def held(self) -> int:
        """How many slots are held."""
        return self._held

    def take(self, tenant: str, connection: str) -> SlotRefusal | None:
        """Take a slot, or take none and return why."""
        limits = self._limits
        for held, most, reason, whose, setting in (
            (self._held, limits.calls, "slots", "", "MAX_CONCURRENT_CALLS"),
            (
                self._of_tenant[tenant],
                limits.of_tenant,
                "tenant_slots",
                f" of tenant {tenant!r}",
                "TENANT_CONCURRENT_CALLS",
            ),
            (
                self._on_connection[connection],
                limits.on_connection,
                "connection_slots",
                " on this connection",
                "CONNECTION_CONCURRENT_CALLS",
            ),
        ):
            if held >= most:
                message = (
                    f"{held} calls{whose} are being handled, and this server allows at most {most} at the same time "
                    f"(CAIRN_{setting}); send the call again later, with fewer calls at the same time"
                )
                return SlotRefusal(reason, message)
        self._held += 1
        self._of_tenant[tenant] += 1
        self._on_connection[connection] += 1
        return None

    def release(self, tenant: str, connection: str) -> None:
        """Give a slot back."""
        self._held -= 1
        for counter, name in ((self._of_tenant, tenant), (self._on_connection, connection)):
            counter[name] -= 1
            # Connections come and go: a name without slots must not stay for ever.
            if not counter[name]:
                del counter[name]
