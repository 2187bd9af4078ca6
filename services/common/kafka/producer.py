"""A Kafka producer that can be closed without delivering its pending records."""

from __future__ import annotations

from kafka import KafkaProducer


class DiscardableProducer(KafkaProducer):  # type: ignore[misc]  # kafka-python ships no types.
    """kafka-python's producer, and `discard`.

    `close` flushes first: while the broker is unavailable, that raises, and the producer keeps sending. `discard`
    relies on `close` calling `flush` and then, with a timeout of 0, ending its sender at once.
    """

    _discarded = False

    def discard(self) -> None:
        """Close at once: fail every unconfirmed record, and do not wait for the broker."""
        self._discarded = True
        self.close(timeout=0)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every record is confirmed or failed; does nothing after `discard`."""
        if not self._discarded:
            super().flush(timeout)
