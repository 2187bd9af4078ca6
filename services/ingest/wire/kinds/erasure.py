"""Forgetting a learner."""

from __future__ import annotations

from cairn.v1 import events_pb2
from services.ingest.domain.kinds.erasure import Erasure
from services.ingest.wire.kinds.kind import LoggedKind


def _log(_: Erasure, message: events_pb2.ErasureEvent) -> None:
    message.SetInParent()


ERASURE = LoggedKind("erasure", Erasure, events_pb2.ErasureEvent, _log)
