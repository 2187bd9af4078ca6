"""Envoy's configuration as one document: the paths of every RPC, the services behind them, and how errors look."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2

from cairn.v1 import catalog_pb2, ingest_pb2, recommender_pb2
from deploy.envoy.compression import compressor, decompressor, encoding_of_request
from deploy.envoy.limits import HEADERS_KIB_MAX, HEADERS_MAX, REQUEST_BYTES_MAX, REQUEST_TIMEOUT_S, TIMEOUT_S
from deploy.envoy.local_replies import local_replies
from deploy.envoy.overload import overload_manager
from deploy.http_rules import HttpRule, http_rule_in

# By the name of its process; a platform knows the recommender's as `server`.
SERVICES = {
    "ingest": ingest_pb2.DESCRIPTOR.services_by_name["IngestService"],
    "catalog": catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"],
    "server": recommender_pb2.DESCRIPTOR.services_by_name["RecommendationService"],
}

_LUA = Path(__file__).with_name("gateway.lua")
_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_FILTERS = f"{_EXTENSIONS}.filters.http"
_LUA_FILTER = "envoy.filters.http.lua"
_MANAGER = f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ADMIN = "admin"
_CHECKED = "checked"

_STREAM_TIMEOUT_S = 3_600
# An answer is larger as JSON than as Protobuf.
_ANSWER_BYTES_MAX = 4 * REQUEST_BYTES_MAX
_DOCUMENT_BYTES_MAX = 1024 * 1024
_STREAMS_MAX = 100
_RELEASED_BYTES = 16 * 1024 * 1024
_STREAM_WINDOW_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where the gateway listens, and where the services are, all as `host:port`.

    Attributes:
        listen: for platforms.
        metrics: for probes (/livez, /readyz) and metrics (/metrics).
        admin: of Envoy itself, which can also be stopped there: on loopback only.
        upstreams: by the names of SERVICES.
        authority: a file with the certificate of the services' authority; empty: they speak plain text.
    """

    listen: str
    metrics: str
    admin: str
    upstreams: Mapping[str, str]
    authority: str = ""


# In containers: services by the names of their processes.
CONTAINERS = Gateway("0.0.0.0:8080", "0.0.0.0:9464", "127.0.0.1:9901", {name: f"{name}:50051" for name in SERVICES})


def gateway_config(gateway: Gateway, openapi: str) -> dict[str, Any]:
    """The configuration; `openapi` is the document to serve at /openapi.yaml."""
    manager = {
        "@type": _MANAGER,
        "stat_prefix": "rest",
        "use_remote_address": True,
        "preserve_external_request_id": True,
        "normalize_path": True,
        "server_header_transformation": "PASS_THROUGH",
        "max_request_headers_kb": HEADERS_KIB_MAX,
        "request_headers_timeout": "10s",
        "request_timeout": f"{REQUEST_TIMEOUT_S}s",
        "stream_idle_timeout": "300s",
        "common_http_protocol_options": {"idle_timeout": "120s", "max_headers_count": HEADERS_MAX},
        "http2_protocol_options": {
            "max_concurrent_streams": _STREAMS_MAX,
            "initial_stream_window_size": _STREAM_WINDOW_BYTES,
            "initial_connection_window_size": 4 * _STREAM_WINDOW_BYTES,
        },
        "route_config": {
            "max_direct_response_body_size_bytes": _DOCUMENT_BYTES_MAX,
            "virtual_hosts": [{"name": "cairn", "domains": ["*"], "routes": list(_routes(openapi))}],
        },
        "local_reply_config": {"mappers": local_replies()},
        "http_filters": [
            compressor(),
            encoding_of_request(),
            decompressor(),
            _lua(),
            _only_checked(),
            _transcoder(),
            _router(),
        ],
    }
    return {
        "admin": {"address": _address(gateway.admin)},
        "overload_manager": overload_manager(),
        # What is free goes back to the system within seconds of a flood.
        "memory_allocator_manager": {"bytes_to_release": _RELEASED_BYTES, "memory_release_interval": "0.1s"},
        "static_resources": {
            "listeners": [
                {
                    "name": "rest",
                    "address": _address(gateway.listen),
                    "per_connection_buffer_limit_bytes": REQUEST_BYTES_MAX,
                    "filter_chains": [_filter_chain(manager)],
                },
                _metrics_listener(gateway.metrics),
            ],
            "clusters": [_cluster(name, gateway.upstreams[name], gateway.authority) for name in SERVICES]
            + [{"name": _ADMIN, "type": "STATIC", "load_assignment": _load_assignment(_ADMIN, gateway.admin)}],
        },
    }


def _metrics_listener(address: str) -> dict[str, Any]:
    """What a probe and Prometheus may read of the admin interface."""
    paths = {"/metrics": "/stats/prometheus", "/livez": "/ready", "/readyz": "/ready"}
    routes = [
        {"match": {"path": path}, "route": {"cluster": _ADMIN, "prefix_rewrite": admin}}
        for path, admin in paths.items()
    ]
    manager = {
        "@type": _MANAGER,
        "stat_prefix": "metrics",
        "route_config": {"virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": routes}]},
        "http_filters": [_router()],
    }
    return {
        "name": "metrics",
        "address": _address(address),
        # A gateway that is under load is alive.
        "bypass_overload_manager": True,
        "filter_chains": [_filter_chain(manager)],
    }


def _filter_chain(manager: Mapping[str, Any]) -> dict[str, Any]:
    return {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}


def _router() -> dict[str, Any]:
    return {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_FILTERS}.router.v3.Router"}}


def _load_assignment(name: str, address: str) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(address)}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}


def _rules() -> Iterator[tuple[str, MethodDescriptor, HttpRule]]:
    for name, service in SERVICES.items():
        for method in service.methods:
            rule = http_rule_in(method.GetOptions())
            if rule is not None:
                yield name, method, rule


def _routes(openapi: str) -> Iterator[dict[str, Any]]:
    yield {
        "match": {"path": "/openapi.yaml"},
        "direct_response": {"status": 200, "body": {"inline_string": openapi}},
        "response_headers_to_add": [_header("content-type", "application/yaml")],
    }
    verbs: dict[str, list[str]] = {}
    for name, method, rule in _rules():
        path = _pattern(rule.path)
        verbs.setdefault(path, []).append(rule.verb.upper())
        yield _route(name, method, rule, path)
    for path, known in verbs.items():
        yield {
            "match": _match(path),
            "direct_response": {
                "status": 405,
                "body": {"inline_string": f"this path has {', '.join(known)} only; see /openapi.yaml"},
            },
            "response_headers_to_add": [_header("allow", ", ".join(known))],
        }
    yield {
        "match": {"prefix": "/"},
        "direct_response": {
            "status": 404,
            "body": {"inline_string": "no such path; see /openapi.yaml for all of them"},
        },
    }


def _route(service: str, method: MethodDescriptor, rule: HttpRule, path: str) -> dict[str, Any]:
    streams = method.server_streaming or method.client_streaming
    timeout = f"{_STREAM_TIMEOUT_S if streams else TIMEOUT_S}"
    route: dict[str, Any] = {
        "name": method.full_name,
        "match": _match(path) | {"headers": [{"name": ":method", "string_match": {"exact": rule.verb.upper()}}]},
        "route": {"cluster": service, "timeout": f"{timeout}s", "idle_timeout": f"{timeout}s"},
        # Services refuse a call without a deadline.
        "request_headers_to_add": [_header("grpc-timeout", f"{timeout}S")],
    }
    told: dict[str, Any] = {"lines": method.server_streaming}
    if rule.body:
        message, prefix = _body(method.input_type, rule.body)
        told |= {"message": message.name, "path": prefix}
    route["metadata"] = {"filter_metadata": {_LUA_FILTER: told}}
    return route


def _body(request: Descriptor, field: str) -> tuple[Descriptor, str]:
    """The message that a request's body is, and the path of its field."""
    held = None if field == "*" else request.fields_by_name[field].message_type
    return (request, "") if held is None else (held, field)


def _pattern(path: str) -> str:
    return "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{.*?\})", path))


def _match(path: str) -> dict[str, Any]:
    return {"safe_regex": {"regex": path}}


def _header(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _lua() -> dict[str, Any]:
    source = f"local FIELDS = {_fields_table()}\n\n{_LUA.read_text(encoding='utf-8')}"
    return {
        "name": _LUA_FILTER,
        "typed_config": {
            "@type": f"{_FILTERS}.lua.v3.Lua",
            "default_source_code": {"inline_string": source},
        },
    }


def _fields_table() -> str:
    """The fields of every message that a body may hold, as a table of Lua."""
    waiting = [_body(method.input_type, rule.body)[0] for _, method, rule in _rules() if rule.body]
    found: dict[str, dict[str, str]] = {}
    while waiting:
        message = waiting.pop()
        if message.name in found:
            continue
        fields = found.setdefault(message.name, {})
        for field in message.fields:
            held = field.message_type if field.type == FieldDescriptor.TYPE_MESSAGE else None
            if held and held.file.package != message.file.package:
                # The JSON of Google's types is theirs: a time is a string.
                held = None
            fields |= dict.fromkeys((field.name, field.json_name), held.name if held else "")
            waiting += [held] if held else []
    tables = (
        f"{name} = {{{', '.join(f'{field} = {held!r}' for field, held in sorted(fields.items()))}}}"
        for name, fields in sorted(found.items())
    )
    return "{\n  " + ",\n  ".join(tables) + ",\n}"


def _only_checked() -> dict[str, Any]:
    """Refuses what the Lua code did not mark: when a script fails, Envoy goes on without it."""
    marked = {"filter": _LUA_FILTER, "path": [{"key": _CHECKED}], "value": {"bool_match": True}}
    permission = {"sourced_metadata": {"metadata_matcher": marked, "metadata_source": "DYNAMIC"}}
    policy = {"permissions": [permission], "principals": [{"any": True}]}
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": f"{_FILTERS}.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": {_CHECKED: policy}},
        },
    }


def _transcoder() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.grpc_json_transcoder",
        "typed_config": {
            "@type": f"{_FILTERS}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
            "proto_descriptor_bin": base64.b64encode(_descriptors().SerializeToString(deterministic=True)).decode(),
            "services": [service.full_name for service in SERVICES.values()],
            "match_incoming_request_route": True,
            "convert_grpc_status": True,
            "url_unescape_spec": "ALL_CHARACTERS",
            "max_request_body_size": REQUEST_BYTES_MAX,
            "max_response_body_size": _ANSWER_BYTES_MAX,
            "print_options": {"preserve_proto_field_names": True, "stream_newline_delimited": True},
            "request_validation_options": {
                "reject_unknown_query_parameters": True,
                "reject_binding_body_field_collisions": True,
            },
        },
    }


def _descriptors() -> FileDescriptorSet:
    """The contracts, the details of errors and what they import, imported files first."""
    found: dict[str, FileDescriptorProto] = {}

    def add(file: FileDescriptor) -> None:
        for imported in file.dependencies:
            add(imported)
        if file.name not in found:
            found[file.name] = FileDescriptorProto()
            file.CopyToProto(found[file.name])

    for service in SERVICES.values():
        add(service.file)
    add(status_pb2.DESCRIPTOR)
    add(error_details_pb2.DESCRIPTOR)
    return FileDescriptorSet(file=found.values())


def _cluster(name: str, address: str, authority: str) -> dict[str, Any]:
    cluster: dict[str, Any] = {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "per_connection_buffer_limit_bytes": _ANSWER_BYTES_MAX,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}
                },
            }
        },
        "load_assignment": _load_assignment(name, address),
    }
    if authority:
        host = address.rpartition(":")[0]
        validation = {
            "trusted_ca": {"filename": authority},
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": host}}],
        }
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": host,
                "common_tls_context": {"alpn_protocols": ["h2"], "validation_context": validation},
            },
        }
    return cluster


def _address(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}
