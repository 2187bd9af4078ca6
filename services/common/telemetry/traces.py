"""Traces follow an event from the call that published it, through the log, to the state and lists that it changes.

They are off unless a collector is configured. The trace context is W3C's `traceparent`: metadata of calls, a header of
records, and a part of the notification when a learner is stored. Spans carry positions and counts, never a learner's
key or id.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span as Span  # noqa: PLC0414 - re-exported, as SpanKind.
from opentelemetry.trace import SpanKind as SpanKind  # noqa: PLC0414 - re-exported: starting a span needs it.
from opentelemetry.trace import Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_log = structlog.get_logger(__name__)

# Makes a span the current one, so that spans started meanwhile are its children.
within = trace.use_span

TRACEPARENT = "traceparent"
_SAMPLED = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf]")

Attributes = Mapping[str, str | int | float | bool]


class Traces:
    """Creates a process's spans. Without a provider it creates none, at almost no cost."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        """Args: `provider` that receives the spans; None: there are no spans."""
        self._provider = provider
        self._tracer: Tracer = trace.NoOpTracer() if provider is None else provider.get_tracer("cairn")
        self._propagator = TraceContextTextMapPropagator()

    @property
    def on(self) -> bool:
        """Whether spans are created at all."""
        return self._provider is not None

    def begin(
        self, name: str, traceparent: str | None, *, kind: SpanKind, attributes: Attributes | None = None
    ) -> Span:
        """A span that the caller ends: for work that begins in one task and ends in another. Args as for `span`."""
        return self._tracer.start_span(name, self._parent(traceparent), kind, attributes)

    @contextmanager
    def span(
        self, name: str, traceparent: str | None, *, kind: SpanKind, attributes: Attributes | None = None
    ) -> Iterator[Span]:
        """Make the current span.

        Args:
            name: the work.
            traceparent: the parent; None: the span starts a new trace.
            kind: server, consumer, producer or internal.
            attributes: further facts.
        """
        with self._tracer.start_as_current_span(name, self._parent(traceparent), kind, attributes) as span:
            yield span

    def current_traceparent(self) -> str | None:
        """The parent for children of the current span; None when the span is not recorded."""
        if self._provider is None or not trace.get_current_span().is_recording():
            return None
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get(TRACEPARENT)

    def record(self, name: str, traceparent: str, *, began_ns: int, attributes: Attributes | None = None) -> str:
        """Record finished work as a part of a trace.

        Args:
            name: the work.
            traceparent: the parent.
            began_ns: when it began, in Unix nanoseconds; it ends now.
            attributes: further facts.

        Returns:
            The parent for its children.
        """
        parent = self._propagator.extract({TRACEPARENT: traceparent})
        span = self._tracer.start_span(name, parent, SpanKind.CONSUMER, attributes, start_time=began_ns)
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, trace.set_span_in_context(span))
        span.end(time.time_ns())
        return carrier.get(TRACEPARENT, traceparent)

    def close(self) -> None:
        """Send the remaining spans."""
        if self._provider is not None:
            self._provider.shutdown()

    def _parent(self, traceparent: str | None) -> Context | None:
        return None if traceparent is None else self._propagator.extract({TRACEPARENT: traceparent})


NO_TRACES = Traces()


def traces_to(endpoint: str, *, service: str, share: float, insecure: bool) -> Traces:
    """Traces that go to an OpenTelemetry collector; none without an endpoint.

    Args:
        endpoint: host:port of its OTLP receiver over gRPC; empty: none.
        service: the name of this process.
        share: the share of calls without a trace for which to start one; a caller's decision is kept.
        insecure: whether to send plain text.
    """
    if not endpoint:
        return NO_TRACES
    # It loads the collector's contracts: half a second and some megabytes that most processes do not need.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    _log.info("traces are sent", endpoint=endpoint, share=share)
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=insecure)
    return traces_into(BatchSpanProcessor(exporter), service=service, share=share)


def traces_into(processor: SpanProcessor, *, service: str, share: float) -> Traces:
    """Traces that go to a span processor."""
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(share)),
        resource=Resource.create({"service.name": f"cairn-{service}"}),
        # The process closes its traces itself.
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    return Traces(provider)


def is_sampled(traceparent: str) -> bool:
    """Whether it is the context of a trace that is recorded."""
    return _SAMPLED.fullmatch(traceparent) is not None
