"""Send events live over gRPC, as a platform would, and time the answers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc

from cairn.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    recommender_pb2,
    recommender_pb2_grpc,
)
from deploy.processes import StackError
from services.ingest.domain.submission import Submission
from services.ingest.wire.submissions import submission_message

_TIMEOUT_S = 10.0
_LIST_LENGTH = 5
_READERS = 8


@dataclass(frozen=True, slots=True)
class Answered:
    """One event that was sent, and the list that followed.

    Attributes:
        submission: the event.
        milliseconds: from sending the event to receiving a list that includes it.
        recommended: the list.
    """

    submission: Submission
    milliseconds: float
    recommended: recommender_pb2.RecommendResponse


class Platform:
    """A platform's client of the three services, with the tenant's API key.

    Attributes:
        as_of: the moment to recommend for; None: now.
    """

    def __init__(self, ingest: Any, catalog: Any, recommender: Any, api_key: str, as_of: datetime | None) -> None:
        """Args: a stub of each service, the tenant's key, and `as_of`, see above."""
        self._ingest = ingest
        self._catalog = catalog
        self._recommender = recommender
        self._api_key = api_key
        self._metadata = (("authorization", f"Bearer {api_key}"),)
        self.as_of = as_of

    def at(self, as_of: datetime) -> Platform:
        """The same client, asking at another moment."""
        return Platform(self._ingest, self._catalog, self._recommender, self._api_key, as_of)

    def recommend(
        self, learner_id: str, grades: Sequence[str] = (), freshness_token: str = "", skills: Sequence[str] = ()
    ) -> recommender_pb2.RecommendResponse:
        """The learner's list for these grades and skills (none: any), from a state that includes the token's event."""
        request = recommender_pb2.RecommendRequest(
            learner_id=learner_id,
            limit=_LIST_LENGTH,
            filter=recommender_pb2.ResourceFilter(grades=grades, skills=skills),
            freshness_token=freshness_token,
        )
        if self.as_of is not None:
            request.as_of.FromDatetime(self.as_of)
        reply: recommender_pb2.RecommendResponse = self._recommender.Recommend(
            request, timeout=_TIMEOUT_S, metadata=self._metadata
        )
        return reply

    def learner(self, learner_id: str) -> recommender_pb2.GetLearnerResponse:
        """What is known about the learner."""
        request = recommender_pb2.GetLearnerRequest(learner_id=learner_id)
        reply: recommender_pb2.GetLearnerResponse = self._recommender.GetLearner(
            request, timeout=_TIMEOUT_S, metadata=self._metadata
        )
        return reply

    def answer(self, submission: Submission, grades: Sequence[str] = ()) -> Answered:
        """Send one event and ask for the list that includes it.

        Raises:
            StackError: when the event is refused, or not applied in time.
        """
        message = submission_message(submission)
        begun = time.perf_counter()
        published = self._ingest.PublishEvents(
            ingest_pb2.PublishEventsRequest(events=[message]), timeout=_TIMEOUT_S, metadata=self._metadata
        )
        (result,) = published.results
        if result.status != ingest_pb2.EVENT_STATUS_ACCEPTED:
            reasons = "; ".join(f"{problem.field}: {problem.reason}" for problem in result.problems)
            raise StackError(f"ingest did not accept a live event: {reasons or 'it is a duplicate'}")
        recommended = self.recommend(submission.learner_id, grades, result.freshness_token)
        milliseconds = (time.perf_counter() - begun) * 1000
        if recommender_pb2.DEGRADATION_STALE_STATE in recommended.degraded:
            raise StackError(
                f"a live event was not applied within {_TIMEOUT_S:g} s: the worker cannot keep up, see its log"
            )
        return Answered(submission, milliseconds, recommended)

    def learners(self, learner_ids: Iterable[str]) -> list[recommender_pb2.GetLearnerResponse]:
        """What is known about several learners."""
        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(self.learner, learner_ids))

    def titles(self, resource_ids: Sequence[str]) -> dict[str, str]:
        """Titles of resources by id."""
        return {
            resource_id: self._catalog.GetResource(
                catalog_pb2.GetResourceRequest(id=resource_id), timeout=_TIMEOUT_S, metadata=self._metadata
            ).resource.title
            for resource_id in resource_ids
        }

    def resources(self) -> int:
        """The number of resources in the catalog."""
        request = catalog_pb2.ListResourcesRequest(page_size=1)
        return int(self._catalog.ListResources(request, timeout=_TIMEOUT_S, metadata=self._metadata).total_size)


@contextmanager
def connected(ingest: str, catalog: str, recommender: str, api_key: str, as_of: datetime | None) -> Iterator[Platform]:
    """A platform connected to the services at these addresses."""
    with (
        grpc.insecure_channel(ingest) as to_ingest,
        grpc.insecure_channel(catalog) as to_catalog,
        grpc.insecure_channel(recommender) as to_recommender,
    ):
        yield Platform(
            ingest_pb2_grpc.IngestServiceStub(to_ingest),
            catalog_pb2_grpc.CatalogServiceStub(to_catalog),
            recommender_pb2_grpc.RecommendationServiceStub(to_recommender),
            api_key,
            as_of,
        )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least `share` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]
