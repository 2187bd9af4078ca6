"""How much a batch may cost, so that no partition waits long for another."""

from __future__ import annotations

_LONGEST_S = 0.4
# Smaller batches say little about the cost of larger ones.
_TELLING_COST = 500
_MOST_GROWTH = 2


class BatchBudget:
    """Adjusts the cost of batches so that folding one takes at most 0.4 s of a processor.

    Records that arrive wait for the batch that is folded and for the next one, which is read meanwhile, before they are
    in a batch themselves: about 1 s in all. Only the processor's time counts. The rest, above all waiting for the store
    and for the event loop, hardly depends on the size of a batch; smaller batches would make it worse.

    Attributes:
        cost_max: what the next batch may cost, in ordinary records.
    """

    def __init__(self, records_max: int) -> None:
        """Args: `records_max`: most ordinary records per batch."""
        self._most = records_max
        self.cost_max = records_max

    def took(self, cost: int, cpu_s: float) -> None:
        """Learn from a batch. Args: its cost; the processor's time that folding it took."""
        if cost >= _TELLING_COST and cpu_s > 0:
            allowed = int(cost * _LONGEST_S / cpu_s)
            self.cost_max = min(self._most, max(_TELLING_COST, min(allowed, _MOST_GROWTH * self.cost_max)))
