"""Filters for gzip."""

from __future__ import annotations

from typing import Any

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_FILTERS = f"{_EXTENSIONS}.filters.http"
_ENCODING = "x-cairn-encoding"
_COMPRESSED_BYTES_MIN = 1_024


def compressor() -> dict[str, Any]:
    """Answers in JSON, for clients that accept gzip. No JSON lines: one would wait until enough others follow."""
    return {
        "name": "envoy.filters.http.compressor",
        "typed_config": {
            "@type": f"{_FILTERS}.compressor.v3.Compressor",
            "compressor_library": {
                "name": "gzip",
                "typed_config": {
                    "@type": f"{_EXTENSIONS}.compression.gzip.compressor.v3.Gzip",
                    "compression_level": "BEST_SPEED",
                },
            },
            "response_direction_config": {"common_config": {"min_content_length": _COMPRESSED_BYTES_MIN}},
        },
    }


def encoding_of_request() -> dict[str, Any]:
    """Tells the Lua code what was compressed: of what is no gzip, the decompressor makes an empty body."""
    encoding = {"header": {"key": _ENCODING, "value": "%REQ(content-encoding)%"}}
    mutation = {"append": encoding | {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    return {
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {
            "@type": f"{_FILTERS}.header_mutation.v3.HeaderMutation",
            "mutations": {"request_mutations": [{"remove": _ENCODING}, mutation]},
        },
    }


def decompressor() -> dict[str, Any]:
    """Bodies in gzip; a service gets them plain."""
    return {
        "name": "envoy.filters.http.decompressor",
        "typed_config": {
            "@type": f"{_FILTERS}.decompressor.v3.Decompressor",
            "decompressor_library": {
                "name": "gzip",
                "typed_config": {"@type": f"{_EXTENSIONS}.compression.gzip.decompressor.v3.Gzip"},
            },
            "request_direction_config": {"common_config": {"ignore_no_transform_header": True}},
            # Services do not compress what they answer.
            "response_direction_config": {
                "common_config": {"enabled": {"default_value": False, "runtime_key": "none"}}
            },
        },
    }
