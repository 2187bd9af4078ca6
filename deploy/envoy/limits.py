"""Limits of the gateway that its messages name too."""

from __future__ import annotations

TIMEOUT_S = 15
REQUEST_TIMEOUT_S = 60
# As CAIRN_MAX_MESSAGE_BYTES.
REQUEST_BYTES_MAX = 4 * 1024 * 1024
# Services take 8 KiB, in which each header counts for 32 bytes more, and say RESOURCE_EXHAUSTED to what is larger.
HEADERS_KIB_MAX = 6
HEADERS_MAX = 50
