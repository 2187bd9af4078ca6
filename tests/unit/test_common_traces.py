"""Traces: the parents of spans."""

from __future__ import annotations

import time

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.common.telemetry.traces import NO_TRACES, SpanKind, is_sampled, traces_into, traces_to

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def traces(exporter):
    traces = traces_into(SimpleSpanProcessor(exporter), service="ingest", share=1.0)
    yield traces
    traces.close()


def hexadecimal(number, digits):
    return f"{number:0{digits}x}"


def test_a_span_is_part_of_the_callers_trace(traces, exporter):
    with traces.span("PublishEvents", CALLER, kind=SpanKind.SERVER):
        pass
    (span,) = exporter.get_finished_spans()
    assert hexadecimal(span.context.trace_id, 32) in CALLER
    assert hexadecimal(span.parent.span_id, 16) in CALLER
    assert span.resource.attributes["service.name"] == "cairn-ingest"


def test_log_lines_during_a_span_carry_its_ids(traces, exporter):
    with traces.span("PublishEvents", None, kind=SpanKind.SERVER):
        traceparent = traces.current_traceparent()
    began_ns = time.time_ns() - 1_000_000
    traces.record("fold", traceparent, began_ns=began_ns, attributes={"cairn.partition": 3})
    published, folded = exporter.get_finished_spans()
    assert folded.parent.span_id == published.context.span_id
    assert folded.context.trace_id == published.context.trace_id
    assert folded.start_time == began_ns
    assert folded.end_time > folded.start_time
    assert folded.attributes == {"cairn.partition": 3}


def test_outside_a_span_there_is_no_trace_context(traces):
    assert traces.current_traceparent() is None


def test_a_caller_that_does_not_record_is_not_recorded(traces, exporter):
    with traces.span("PublishEvents", CALLER[:-2] + "00", kind=SpanKind.SERVER):
        assert traces.current_traceparent() is None
    assert not exporter.get_finished_spans()


def test_a_share_of_the_calls_without_a_trace_starts_one(exporter):
    none = traces_into(SimpleSpanProcessor(exporter), service="ingest", share=0.0)
    with none.span("PublishEvents", None, kind=SpanKind.SERVER):
        assert none.current_traceparent() is None
    with none.span("PublishEvents", CALLER, kind=SpanKind.SERVER):
        assert none.current_traceparent() is not None
    assert len(exporter.get_finished_spans()) == 1
    none.close()


def test_without_a_collector_nothing_is_traced():
    off = traces_to("", service="ingest", share=1.0, insecure=False)
    assert off is NO_TRACES
    assert not off.on
    with off.span("PublishEvents", CALLER, kind=SpanKind.SERVER):
        assert off.current_traceparent() is None


@pytest.mark.parametrize(
    ("traceparent", "sampled"),
    [
        (CALLER, True),
        (CALLER[:-2] + "00", False),
        (CALLER[:-2] + "03", True),
        (CALLER + " x", False),
        ("", False),
        ("nonsense-01", False),
    ],
)
def test_only_a_recorded_trace_is_continued(traceparent, sampled):
    assert is_sampled(traceparent) is sampled
