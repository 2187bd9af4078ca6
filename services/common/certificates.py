"""Certificates and keys in PEM: files are checked before use, and failed TLS handshakes are explained.

OpenSSL's own words name neither the file nor the server, nor what to do.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

# https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_AUTHORITY = {18, 19, 20, 21}
_OTHER_HOST = {62, 64}

_OTHER_KEY = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}
# What the beginning of another protocol is taken for, and what a server of plain text sends.
_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING", "PACKET_LENGTH_TOO_LONG"}
_ALERT = "ALERT"


class CertificateFileError(ValueError):
    """A file cannot be used; the message names the setting, the file and the remedy."""


class Named(NamedTuple):
    """A file, and the setting that names it."""

    setting: str
    file: Path

    def __str__(self) -> str:
        return f"{self.setting}={self.file}"

    def read(self) -> bytes:
        """Its content. Raises CertificateFileError."""
        try:
            return self.file.read_bytes()
        except OSError as error:
            raise CertificateFileError(
                f"{self} cannot be read ({error.strerror}): give a file that this process can read"
            ) from error


def load_authorities(context: ssl.SSLContext, authorities: Named) -> None:
    """Trust the authorities in a file.

    Raises:
        CertificateFileError: when it cannot be used.
    """
    authorities.read()
    try:
        context.load_verify_locations(authorities.file)
    except ssl.SSLError as error:
        raise CertificateFileError(
            f"{authorities} holds no certificate that can be read: give the certificates of the authorities, in PEM"
        ) from error


def load_chain(context: ssl.SSLContext, certificate: Named, key: Named, password: str = "") -> None:
    """Present a certificate chain.

    Args:
        context: who presents it.
        certificate: the certificate, followed by those of intermediate authorities.
        key: its private key.
        password: of the key, if it is encrypted. Without one, an encrypted key is refused.

    Raises:
        CertificateFileError: when a file cannot be used.
    """
    if b"-----BEGIN CERTIFICATE-----" not in certificate.read():
        raise CertificateFileError(f"{certificate} holds no certificate: give a certificate in PEM")
    content = key.read()
    if b"PRIVATE KEY-----" not in content:
        raise CertificateFileError(f"{key} holds no private key: give the key of {certificate} in PEM")
    if b"ENCRYPTED" in content and not password:
        raise CertificateFileError(
            f"{key} is encrypted: give an unencrypted key, for example that of openssl pkey -in {key.file}"
        )
    try:
        # Without a password, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate.file, key.file, password=password)
    except ssl.SSLError as error:
        if error.reason in _OTHER_KEY:
            raise CertificateFileError(
                f"{key} is not the key of {certificate}: give the two that belong together"
            ) from error
        raise CertificateFileError(
            f"{certificate} and {key} cannot be used ({error.reason or error}): give an undamaged certificate and its "
            "key in PEM"
        ) from error


def handshake_problem(error: BaseException, server: str, authorities: str) -> str | None:
    """Why TLS to a server failed, and the remedy; None: it was not TLS that failed.

    Args:
        error: that error, or one that it led to.
        server: host:port, or what else the server is called.
        authorities: where those are that the client trusts: a setting with its file, or the system's list.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _distrust(cause, server, authorities)
    reason = getattr(cause, "reason", None) or str(cause)
    if reason in _NO_TLS:
        return f"{server} did not answer as TLS wants: check that it speaks TLS on this port"
    if _ALERT in reason:
        said = reason.rpartition(f"{_ALERT}_")[2].replace("_", " ").lower()
        return f"{server} refused the connection ({said}): give a client certificate from an authority that it trusts"
    return f"TLS to {server} failed: {reason}"


def _distrust(error: ssl.SSLCertVerificationError, server: str, authorities: str) -> str:
    if error.verify_code in _UNKNOWN_AUTHORITY:
        return (
            f"the certificate of {server} is not trusted, because no authority in {authorities} signed it: give the "
            "certificate of the authority that did, in PEM"
        )
    if error.verify_code in _OTHER_HOST:
        return f"the certificate of {server} names other hosts: connect to one of these, or renew it with this one"
    if error.verify_code == _EXPIRED:
        return f"the certificate of {server}, or of its authority, has expired: renew it there"
    if error.verify_code == _NOT_YET_VALID:
        return f"the certificate of {server} is not valid yet: check the clocks of both machines"
    return f"the certificate of {server} is not trusted ({error.verify_message}): check it, and {authorities}"
