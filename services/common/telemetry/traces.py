"""Traces: one event followed from the call that published it, through the log, to the state and lists it changes.

Off unless a collector is named. The trace context is W3C's `traceparent`: metadata of calls, a header of records, and a
part of what is published when a learner is stored. Spans carry positions and counts, never a learner's key or id.
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
from opentelemetry.trace import Span as Span  # noqa: PLC0414 - as SpanKind.
from opentelemetry.trace import SpanKind as SpanKind  # noqa: PLC0414 - who begins a span imports it from here too.
from opentelemetry.trace import Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_log = structlog.get_logger(__name__)

# What is made within it is a part of the span.
within = trace.use_span

TRACEPARENT = "traceparent"
_SAMPLED = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf]")

Attributes = Mapping[str, str | int | float | bool]


class Traces:
    """Makes a process's spans; without a provider it makes none, at next to no cost."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        """Args: `provider`, where spans go; None: nowhere."""
        self._provider = provider
        self._tracer: Tracer = trace.NoOpTracer() if provider is None else provider.get_tracer("cairn")
        self._propagator = TraceContextTextMapPropagator()

    @property
    def on(self) -> bool:
        """Whether spans are made at all."""
        return self._provider is not None

    def begin(
        self, name: str, traceparent: str | None, *, kind: SpanKind, attributes: Attributes | None = None
    ) -> Span:
        """A span that whoever asks for it ends: for what begins in one task and ends in another. Args as of `span`."""
        return self._tracer.start_span(name, self._parent(traceparent), kind, attributes)

    @contextmanager
    def span(
        self, name: str, traceparent: str | None, *, kind: SpanKind, attributes: Attributes | None = None
    ) -> Iterator[Span]:
        """Make the current span.

        Args:
            name: what is done.
            traceparent: what it is a part of; None: a trace of its own.
            kind: whether it serves, consumes, produces or is internal.
            attributes: what more is to be said of it.
        """
        with self._tracer.start_as_current_span(name, self._parent(traceparent), kind, attributes) as span:
            yield span

    def current_traceparent(self) -> str | None:
        """What is to be a part of the current span; None when nobody records it."""
        if self._provider is None or not trace.get_current_span().is_recording():
            return None
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get(TRACEPARENT)

    def record(self, name: str, traceparent: str, *, began_ns: int, attributes: Attributes | None = None) -> str:
        """Note something that has been done, as a part of what came in.

        Args:
            name: what was done.
            traceparent: what it is a part of.
            began_ns: when it began, Unix nanoseconds; it ends now.
            attributes: what more is to be said of it.

        Returns:
            What is to be a part of it in turn.
        """
        parent = self._propagator.extract({TRACEPARENT: traceparent})
        span = self._tracer.start_span(name, parent, SpanKind.CONSUMER, attributes, start_time=began_ns)
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, trace.set_span_in_context(span))
        span.end(time.time_ns())
        return carrier.get(TRACEPARENT, traceparent)

    def close(self) -> None:
        """Send what was not sent yet."""
        if self._provider is not None:
            self._provider.shutdown()

    def _parent(self, traceparent: str | None) -> Context | None:
        return None if traceparent is None else self._propagator.extract({TRACEPARENT: traceparent})


NO_TRACES = Traces()


def traces_to(endpoint: str, *, service: str, share: float, insecure: bool) -> Traces:
    """Traces that an OpenTelemetry collector gets; none when no endpoint is named.

    Args:
        endpoint: host:port of its OTLP receiver over gRPC; empty: none.
        service: name of this process.
        share: of the calls without a trace of their own, how many to begin one for; a caller's decision is kept.
        insecure: whether to speak plain text.
    """
    if not endpoint:
        return NO_TRACES
    # It brings the collector's contracts along: half a second and some megabytes that most processes do without.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    _log.info("traces are sent", endpoint=endpoint, share=share)
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=insecure)
    return traces_into(BatchSpanProcessor(exporter), service=service, share=share)


def traces_into(processor: SpanProcessor, *, service: str, share: float) -> Traces:
    """Traces that a processor gets."""
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(share)),
        resource=Resource.create({"service.name": f"cairn-{service}"}),
        # The process says itself when it ends.
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    return Traces(provider)


def is_sampled(traceparent: str) -> bool:
    """Whether it is a trace context, of a trace that whoever began it records."""
    return _SAMPLED.fullmatch(traceparent) is not None
