"""How long partitions stand still while something is done to the processes that read them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Self

_SAMPLE_EVERY_S = 0.02


class Unread:
    """While the block runs, the longest time in which a partition's position stood still although records waited.

    Attributes:
        longest_s: that time.
        partition: the partition.
        all_s: the longest time in which none moved.
    """

    def __init__(self, positions: Callable[[], Mapping[int, int]], ends: Mapping[int, int] | None = None) -> None:
        """Prepare it.

        Args:
            positions: reads the stored positions.
            ends: the ends of the partitions, kept current by whoever writes. A partition that was read to its end is
                not unread. None: records come all the time.
        """
        self._positions = positions
        self._ends = ends
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.longest_s, self.partition, self.all_s = 0.0, -1, 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        moved: dict[int, tuple[int, float]] = {}
        any_moved_s = time.monotonic()
        while not self._stopping.wait(_SAMPLE_EVERY_S):
            now_s = time.monotonic()
            for partition, position in self._positions().items():
                before, since_s = moved.get(partition, (-1, now_s))
                if now_s - since_s > self.longest_s:
                    self.longest_s, self.partition = now_s - since_s, partition
                at_end = self._ends is not None and position >= self._ends.get(partition, 0)
                if position != before or at_end:
                    moved[partition] = (position, now_s)
                    any_moved_s = now_s
            self.all_s = max(self.all_s, now_s - any_moved_s)
