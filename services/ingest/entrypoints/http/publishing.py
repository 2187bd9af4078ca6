"""Publishing what a reader found in a request, however many events that are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.common.auth.tenant import Tenant
from services.common.http.refusals import RequestRefusedError, invalid_request
from services.common.rpc.statuses import FieldViolation
from services.common.turns import Pauses
from services.ingest.application.ports import FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.application.publish import EVENTS_MAX, Checked, EventOutcome, PublishEvents
from services.ingest.domain.problems import Problem, ProblemKind
from services.ingest.domain.repeats import Outcome
from services.ingest.entrypoints.refusals import LEFT_OUT, REFUSALS, REFUSED, SEND_AGAIN, count, refusal_of

POLICY = "cairn.v1.IngestService/PublishEvents"
"""The method whose scope and rate the entries share."""

ROWS_MAX = 5_000
"""Events that one request may have, in as many batches as they need."""


def check_rows(rows: int) -> None:
    """Raise RequestRefusedError when a request has no events, or more than ROWS_MAX."""
    if not 1 <= rows <= ROWS_MAX:
        problem = (
            f"has {rows} events, a request takes 1 to {ROWS_MAX}: send them in several requests"
            if rows
            else "is empty: send at least one event"
        )
        raise invalid_request(
            [FieldViolation("events", problem)], reason="batch_size", http_status=413 if rows else 400
        )


class HttpPublisher:
    """Publishes the events of a request in their order, in as many batches as they need."""

    def __init__(self, publish: PublishEvents, charge: Callable[[str, int], None]) -> None:
        """Args: the use case, and `charge`, which counts a tenant's events for the rate limit."""
        self._publish = publish
        self._charge = charge

    async def __call__(
        self, tenant: Tenant, rows: Sequence[FileRow], *, all_or_nothing: bool = False, paths: Sequence[str] = ()
    ) -> list[EventOutcome | None]:
        """Publish the events among the rows.

        Args:
            tenant: whose events they are.
            rows: what a reader made of the request.
            all_or_nothing: refuse the request when one row is no event, or an event with problems.
            paths: what precedes the field in a problem of each row's event; empty: nothing does.

        Returns:
            One outcome per row, in the order given: a row that cannot be read is rejected; None for one that its reader
            left out. With `all_or_nothing`, they have no freshness tokens.

        Raises:
            RequestRefusedError: when nothing is acknowledged: there are too many rows, the log or the catalog is
                not available now, or the rows have problems and `all_or_nothing` is set.
        """
        if rows:
            check_rows(len(rows))
        submissions = [row.submission for row in rows if isinstance(row, Row)]
        try:
            checked = await self._publish.check(tenant, submissions) if submissions else []
            if all_or_nothing:
                _check_all(rows, checked, paths or [""] * len(rows))
            self._charge(tenant.name, len(rows))
            # What is taken as a whole is answered as a whole, without a token for each event.
            published = iter(await self._publish_all(tenant, checked, tokens=not all_or_nothing))
        except REFUSALS as error:
            reason, status = refusal_of(error, SEND_AGAIN)
            REFUSED.labels(reason).inc()
            raise RequestRefusedError(status, reason=reason) from error
        outcomes = [_unpublished(row) or next(published) if not isinstance(row, LeftOutRow) else None for row in rows]
        count([outcome for outcome in outcomes if outcome is not None])
        LEFT_OUT.inc(outcomes.count(None))
        return outcomes

    async def _publish_all(self, tenant: Tenant, checked: Sequence[Checked], *, tokens: bool) -> list[EventOutcome]:
        # One after the other, so that they keep their order; all of them before the log confirms the first.
        batches = [
            await self._publish.begin_checked(tenant, checked[begin : begin + EVENTS_MAX])
            for begin in range(0, len(checked), EVENTS_MAX)
        ]
        pauses, outcomes = Pauses(), list[EventOutcome]()
        for batch in batches:
            outcomes += await batch.outcomes(tokens=tokens)
            await pauses.when_due()
        return outcomes


def _check_all(rows: Sequence[FileRow], checked: Sequence[Checked], paths: Sequence[str]) -> None:
    """Raise RequestRefusedError when a row is no event, or an event with problems."""
    violations, events = list[FieldViolation](), iter(checked)
    for row, path in zip(rows, paths, strict=True):
        if isinstance(row, UnreadableRow):
            violations += [FieldViolation(problem.field, problem.reason) for problem in row.problems]
        elif isinstance(row, Row) and isinstance(event := next(events), EventOutcome):
            named = ((row.name_of(problem.field), problem.reason) for problem in event.problems)
            violations += [FieldViolation(f"{path}{name}", reason) for name, reason in named]
    if violations:
        REFUSED.labels("invalid").inc()
        raise invalid_request(violations)


def _unpublished(row: Row | UnreadableRow) -> EventOutcome | None:
    """The outcome of a row that is no event; None: it is one."""
    if isinstance(row, Row):
        return None
    problems = tuple(Problem(problem.field, ProblemKind.UNREADABLE, problem.reason) for problem in row.problems)
    return EventOutcome(Outcome.REJECTED, "", problems=problems)
