"""A trace follows one event from the platform's call through every process to the list it changes."""

from __future__ import annotations

import threading
from concurrent import futures

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from cairn.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    recommender_pb2,
    recommender_pb2_grpc,
)
from deploy.local.stack import Stack, StackOptions
from tests.benchmarks.synthetic import catalog, submission

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"
LEARNER = "learner-0"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Collects the spans of one trace."""

    def __init__(self):
        self.spans = {}
        self.arrived = threading.Condition()

    def Export(self, request, context):  # noqa: N802 - the name of the RPC.
        with self.arrived:
            for of_process in request.resource_spans:
                names = {attribute.key: attribute.value.string_value for attribute in of_process.resource.attributes}
                for scope in of_process.scope_spans:
                    for span in scope.spans:
                        if span.trace_id.hex() == TRACE:
                            self.spans[span.name] = (names["service.name"], span)
            self.arrived.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector(monkeypatch):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    collector = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("CAIRN_TRACES_ENDPOINT", f"127.0.0.1:{port}")
    monkeypatch.setenv("CAIRN_TRACES_INSECURE", "true")
    monkeypatch.setenv("CAIRN_TRACES_SHARE", "0")
    yield collector
    server.stop(None).wait()


@pytest.mark.slow
def test_a_trace_follows_an_event_from_the_call_to_the_list_it_changes(collector, tmp_path):
    with Stack(StackOptions(tmp_path / "stack"), lambda _: None) as stack:
        metadata = (("authorization", f"Bearer {stack.api_key}"),)
        skills, resources = catalog(30, skills=6)
        with grpc.insecure_channel(stack.address("catalog")) as channel:
            pieces = iter([catalog_pb2.ImportCatalogRequest(skills=skills, resources=resources)])
            catalog_pb2_grpc.CatalogServiceStub(channel).ImportCatalog(pieces, metadata=metadata, timeout=20)
        with (
            grpc.insecure_channel(stack.address("ingest")) as ingest,
            grpc.insecure_channel(stack.address("server")) as server,
        ):
            publisher = ingest_pb2_grpc.IngestServiceStub(ingest)
            recommender = recommender_pb2_grpc.RecommendationServiceStub(server)
            wanted = recommender_pb2.SubscribeRequest(learner_ids=[LEARNER])
            updates = recommender.Subscribe(wanted, metadata=metadata)
            snapshot = [next(updates), next(updates)]
            assert snapshot[-1].HasField("snapshot_complete")
            # Events without a trace, of another learner.
            publish(publisher, metadata, submission(1, 3, correct=True, event_id="other"))
            traced = (*metadata, ("traceparent", CALLER))
            events = [submission(0, resource, correct=False, event_id=f"event-{resource}") for resource in range(6)]
            publish(publisher, traced, *events)
            assert next(updates).update.learner_id == LEARNER
            # If the reader leaves at once, the server may be cancelled before it ends the span.
            with collector.arrived:
                assert collector.arrived.wait_for(lambda: len(collector.spans) == 3, timeout=30)
            updates.cancel()
    published, folded, listed = (
        collector.spans[name] for name in ("cairn.v1.IngestService/PublishEvents", "fold", "subscription update")
    )
    processes = [process for process, _ in (published, folded, listed)]
    assert processes == ["cairn-ingest", "cairn-worker", "cairn-recommender"]
    assert published[1].parent_span_id.hex() in CALLER
    assert folded[1].parent_span_id == listed[1].parent_span_id == published[1].span_id
    # The change notification may be faster than the end of the worker's own span.
    assert published[1].start_time_unix_nano < min(folded[1].end_time_unix_nano, listed[1].end_time_unix_nano)
    said = str([span for _, span in collector.spans.values()])
    assert LEARNER not in said


def publish(publisher, metadata, *events):
    reply = publisher.PublishEvents(ingest_pb2.PublishEventsRequest(events=events), metadata=metadata, timeout=20)
    assert {result.status for result in reply.results} == {ingest_pb2.EVENT_STATUS_ACCEPTED}
