"""A Kafka producer that can be ended without delivering what it holds."""

from __future__ import annotations

from kafka import KafkaProducer


class DiscardableProducer(KafkaProducer):  # type: ignore[misc]  # kafka-python ships no types.
    """kafka-python's producer, and `discard`.

    `close` flushes first: while the broker is away, that raises, and the producer goes on sending. `discard` relies on
    `close` calling `flush` and then, with a timeout of 0, ending its sender at once.
    """

    _discarded = False

    def discard(self) -> None:
        """End now: fail every record that is not confirmed, and wait for no broker."""
        self._discarded = True
        self.close(timeout=0)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every record is confirmed or failed; nothing after `discard`."""
        if not self._discarded:
            super().flush(timeout)
