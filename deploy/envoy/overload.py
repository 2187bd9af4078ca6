"""What the gateway does before too many connections or too much memory end it."""

from __future__ import annotations

from typing import Any

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_CONNECTIONS = f"{_EXTENSIONS}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
_HEAP = "envoy.resource_monitors.fixed_heap"

_CONNECTIONS_MAX = 2_000
# Of the 512 MiB that the chart gives it. Anybody may fill memory: a body is read before a service looks at the key.
_HEAP_BYTES_MAX = 192 * 1024 * 1024
_HEAP_CHECK_S = 0.02
# Streams that hold more than 2 to the power of this, from 1 MiB on, are reset when memory is short.
_HELD_POWER = 20
# After which a request that stalls is given up when memory is short.
_STALLED_MIN_S = 2


def overload_manager() -> dict[str, Any]:
    """Limits on connections, and on memory: requests with large bodies give way first."""
    limits = {
        "envoy.resource_monitors.global_downstream_max_connections": {
            "@type": _CONNECTIONS,
            "max_active_downstream_connections": _CONNECTIONS_MAX,
        },
        _HEAP: {
            "@type": f"{_EXTENSIONS}.resource_monitors.fixed_heap.v3.FixedHeapConfig",
            "max_heap_size_bytes": _HEAP_BYTES_MAX,
        },
    }
    actions: dict[str, dict[str, Any]] = {
        # Only of HTTP/2.
        "reset_high_memory_stream": {"scaled": {"scaling_threshold": 0.6, "saturation_threshold": 0.9}},
        "reduce_timeouts": {"scaled": {"scaling_threshold": 0.6, "saturation_threshold": 0.9}},
        "shrink_heap": {"threshold": {"value": 0.6}},
        "stop_accepting_requests": {"threshold": {"value": 0.95}},
    }
    stalled = {"timer": "HTTP_DOWNSTREAM_STREAM_IDLE", "min_timeout": f"{_STALLED_MIN_S}s"}
    typed = {
        "reduce_timeouts": {
            "@type": "type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
            "timer_scale_factors": [stalled],
        }
    }
    # Also a request whose body is coming.
    points = ("http1_server_abort_dispatch", "http2_server_go_away_and_close_on_dispatch", "tcp_listener_accept")
    full = {"name": _HEAP, "threshold": {"value": 0.98}}
    return {
        "refresh_interval": f"{_HEAP_CHECK_S}s",
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _HELD_POWER},
        "resource_monitors": [{"name": name, "typed_config": limit} for name, limit in limits.items()],
        "actions": [
            {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": _HEAP} | trigger]}
            | ({"typed_config": typed[name]} if name in typed else {})
            for name, trigger in actions.items()
        ],
        "loadshed_points": [{"name": f"envoy.load_shed_points.{name}", "triggers": [full]} for name in points],
    }
