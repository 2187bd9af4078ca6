"""Requests that are refused as a whole, and what is counted of the others: the same for every protocol."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence

from google.rpc import status_pb2
from prometheus_client import Counter

from services.common.rpc.statuses import FieldViolation, invalid_argument, resource_exhausted, unavailable
from services.ingest.application.ports import LogOverloadedError, LogUnavailableError, RecentEventsUnavailableError
from services.ingest.application.publish import BatchSizeError, CatalogNotReadyError, EventOutcome

_RETRY_AFTER_S = 1.0

EVENTS = Counter("cairn_ingest_events", "Events answered, by outcome.", ["outcome"])
PROBLEMS = Counter("cairn_ingest_problems", "Problems of rejected and conflicting events, by kind.", ["kind"])
LEFT_OUT = Counter("cairn_ingest_left_out_events", "Events of other formats that their readers leave out by rule.")
REFUSED = Counter("cairn_ingest_refused_requests", "Requests refused as a whole, by reason.", ["reason"])

REFUSALS = (BatchSizeError, CatalogNotReadyError, LogUnavailableError, LogOverloadedError)
"""Why PublishEvents may refuse a request."""

SEND_AGAIN = "no event of this request was acknowledged: send the whole request again"


def refusal_of(error: Exception, remedy: str) -> tuple[str, status_pb2.Status]:
    """Why a request is refused: in one word for metrics, and as a status."""
    match error:
        case BatchSizeError():
            return "batch_size", invalid_argument([FieldViolation("events", str(error))])
        case CatalogNotReadyError():
            status = unavailable(str(error), reason="CATALOG_NOT_READY", retry_after_s=_RETRY_AFTER_S)
            return "catalog_not_ready", status
        case LogUnavailableError():
            status = unavailable(f"{error}; {remedy}", reason="LOG_UNAVAILABLE", retry_after_s=_RETRY_AFTER_S)
            return "log_unavailable", status
        case RecentEventsUnavailableError():
            message = f"the learner's events are erased, but digests of the last ones may be left: {error}; {remedy}"
            status = unavailable(message, reason="RECENT_EVENTS_UNAVAILABLE", retry_after_s=_RETRY_AFTER_S)
            return "recent_events_unavailable", status
        case LogOverloadedError():
            status = resource_exhausted(str(error), reason="LOG_OVERLOADED", retry_after_s=_RETRY_AFTER_S)
            return "log_overloaded", status
        case _:
            raise AssertionError(f"{type(error).__name__} is not a known refusal")


def count(outcomes: Sequence[EventOutcome]) -> None:
    """Count what was answered."""
    for outcome, events in Tally(entry.outcome for entry in outcomes).items():
        EVENTS.labels(outcome.value).inc(events)
    for kind, problems in Tally(problem.kind for entry in outcomes for problem in entry.problems).items():
        PROBLEMS.labels(kind.value).inc(problems)
