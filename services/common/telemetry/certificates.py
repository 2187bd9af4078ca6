"""When the certificates that a process presents expire, for Prometheus."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cryptography import x509
from prometheus_client import Gauge

EXPIRES = Gauge(
    "cairn_certificate_expires_timestamp_seconds",
    "When the first certificate of the chain that a setting names expires, in seconds since 1970.",
    ["setting"],
)


def report_expiry(setting: str, chain: Path | None, *, read_again: bool = False) -> None:
    """Give Prometheus the time at which a certificate in use expires.

    Args:
        setting: the environment variable that names the file, for the label.
        chain: the certificate chain in PEM, which can be read now; None: none is used, and nothing is reported.
        read_again: whether the process uses a renewed file without a restart. If not, the time is that of the file as
            it was at the start.
    """
    if chain is None:
        return
    expires = _Expiry(chain)
    at_s = expires()
    if read_again:
        EXPIRES.labels(setting).set_function(expires)
    else:
        EXPIRES.labels(setting).set(at_s)


class _Expiry:
    """Reads a chain; while it cannot be read, the one before is in use."""

    def __init__(self, chain: Path) -> None:
        self._chain = chain
        self._at_s = 0.0

    def __call__(self) -> float:
        # The server logs a renewed file that it cannot use.
        with suppress(OSError, ValueError):
            certificates = x509.load_pem_x509_certificates(self._chain.read_bytes())
            self._at_s = min(certificate.not_valid_after_utc.timestamp() for certificate in certificates)
        return self._at_s
