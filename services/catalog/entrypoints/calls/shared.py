"""What all calls of the CatalogService share: the tenant's catalog, and the statuses of errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import status_pb2

from services.catalog.application.edit_catalog import (
    ConflictError,
    EditCatalog,
    EditInvalidError,
    RecordExistsError,
    RecordMissingError,
    SkillInUseError,
    TooManyRulesError,
)
from services.catalog.application.import_catalog import ImportCatalog
from services.catalog.application.ports import CatalogUnavailableError, CatalogView
from services.catalog.application.read_catalog import PageRequestInvalidError
from services.catalog.application.review_tags import ListTagReviews, ReviewTag
from services.catalog.application.suggest_tags import SuggestTags
from services.catalog.application.taggers import NoTaggerError
from services.catalog.application.writing import CatalogLogRecreatedError
from services.catalog.domain.contents import Contents
from services.catalog.entrypoints.metrics import CatalogMetrics
from services.common.rpc.call_context import current_tenant
from services.common.rpc.statuses import (
    FieldViolation,
    abort,
    aborted,
    already_exists,
    failed_precondition,
    invalid_argument,
    not_found,
    unavailable,
)

RETRY_AFTER_S = 1.0

Context = grpc.aio.ServicerContext[Any, Any]

_PRECONDITIONS: dict[type[Exception], tuple[str, str]] = {
    SkillInUseError: ("in_use", "SKILL_IN_USE"),
    TooManyRulesError: ("too_many", "TOO_MANY_RULES"),
    CatalogLogRecreatedError: ("unavailable", "CATALOG_LOG_RECREATED"),
}


@dataclass(frozen=True, slots=True)
class UseCases:
    """The use cases of the service."""

    import_catalog: ImportCatalog
    edit: EditCatalog
    suggest_tags: SuggestTags
    list_tag_reviews: ListTagReviews
    review_tag: ReviewTag


class Calls:
    """What the handlers of calls share."""

    def __init__(self, view: CatalogView, use: UseCases, metrics: CatalogMetrics) -> None:
        """Args: the view, the use cases and the metrics."""
        self.view = view
        self.use = use
        self.metrics = metrics

    async def contents(self, context: Context) -> Contents:
        """The tenant's catalog; aborts the call while the view is not ready."""
        if not self.view.ready:
            message = "the catalog is still being read from its topics; try again, or wait for the health service"
            await abort(context, unavailable(message, reason="CATALOG_NOT_READY", retry_after_s=RETRY_AFTER_S))
        return self.view.contents(current_tenant().name)

    @asynccontextmanager
    async def changing(self, context: Context, method: str) -> AsyncIterator[None]:
        """Count a call that changes the catalog, and abort it with a status when it fails."""
        await self.contents(context)
        outcome, status = "failed", None
        try:
            yield
            outcome = "done"
        except (
            EditInvalidError,
            RecordMissingError,
            ConflictError,
            SkillInUseError,
            TooManyRulesError,
            CatalogUnavailableError,
            CatalogLogRecreatedError,
        ) as error:
            outcome, status = _refusal(error)
        finally:
            self.metrics.changes.labels(method, outcome).inc()
        if status is not None:
            # After it was counted: whoever has the answer finds it in the metrics.
            await abort(context, status)

    @asynccontextmanager
    async def reading(self, context: Context) -> AsyncIterator[None]:
        """Abort a call that reads with a status when it fails."""
        await self.contents(context)
        try:
            yield
        except PageRequestInvalidError as error:
            await abort(context, invalid_argument([FieldViolation(error.field, str(error))]))
        except EditInvalidError as error:
            await abort(context, _refusal(error)[1])
        except NoTaggerError as error:
            await abort(context, failed_precondition(str(error), reason="NO_TAGGER"))


def _refusal(error: Exception) -> tuple[str, status_pb2.Status]:
    match error:
        case EditInvalidError():
            violations = [FieldViolation(problem.path, problem.reason) for problem in error.problems]
            return "invalid", invalid_argument(violations)
        case RecordMissingError():
            return "missing", not_found(f"{error}; List{error.kind.title()}s lists all")
        case RecordExistsError():
            return "conflict", already_exists(str(error), facts={"etag": error.etag})
        case ConflictError():
            return "conflict", aborted(str(error), reason="ETAG_MISMATCH", facts={"etag": error.etag})
        case CatalogUnavailableError():
            message = f"{error}; send it again: records that were already written count as unchanged"
            return "unavailable", unavailable(message, reason="CATALOG_LOG_UNAVAILABLE", retry_after_s=RETRY_AFTER_S)
        case _:
            outcome, reason = _PRECONDITIONS[type(error)]
            return outcome, failed_precondition(str(error), reason=reason)
