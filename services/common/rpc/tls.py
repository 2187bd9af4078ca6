"""TLS for a server: certificate, key and, for mutual TLS, the authority of its clients, from files that may change."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from services.common.certificates import CertificateFileError, Named, load_authorities, load_chain

_log = structlog.get_logger(__name__)

_NOT_READ_AGAIN = "TLS files not read again; those read before stay in use"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of a server's TLS, in PEM.

    Attributes:
        certificate: its certificate, followed by the intermediate certificates.
        key: the certificate's private key, not encrypted.
        client_ca: certificates of the authorities that sign clients' certificates. With it, a client without such a
            certificate cannot connect (mutual TLS). Calls need an API key in any case.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All paths."""
        return (self.certificate, self.key, *([self.client_ca] if self.client_ca else []))


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that read the files again for the next connection after they changed.

    Renewing a certificate needs no restart. Files that become unusable, for example between writing one and the other,
    are logged and change nothing.

    Raises:
        CertificateFileError: when the files cannot be used at the start.
    """
    renewed = _RenewedFiles(files)
    return grpc.dynamic_ssl_server_credentials(
        renewed.configuration,
        renewed.fetch,  # type: ignore[arg-type]  # The stub does not allow None, which means: unchanged.
        require_client_authentication=files.client_ca is not None,
    )


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """As `server_credentials`, for servers on Python's own TLS.

    Raises:
        CertificateFileError: when the files cannot be used at the start.
    """
    version = _version_of(files)
    current = _context(files)

    def renew(connection: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        nonlocal version, current
        found = _version_of(files)
        if found != version:
            version = found
            try:
                current = _context(files)
            except CertificateFileError as error:
                _log.error(_NOT_READ_AGAIN, reason=str(error))
            else:
                _log.info("TLS files read again", certificate=str(files.certificate))
        connection.context = current

    # Called for each connection, with or without a server name.
    first = _context(files)
    first.sni_callback = renew
    return first


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_chain(context, Named("CAIRN_TLS_CERTIFICATE", files.certificate), Named("CAIRN_TLS_KEY", files.key))
    if files.client_ca is not None:
        load_authorities(context, Named("CAIRN_TLS_CLIENT_CA", files.client_ca))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _RenewedFiles:
    """The files as last read, and whether they changed since."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._version = _version_of(files)
        self.configuration = _read(files)

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The configuration if it changed; gRPC calls this for each new connection, on a separate thread."""
        version = _version_of(self._files)
        if version == self._version:
            return None
        # Saved before reading, so that files replaced meanwhile are read again, and unusable ones only once.
        self._version = version
        try:
            self.configuration = _read(self._files)
        except CertificateFileError as error:
            _log.error(_NOT_READ_AGAIN, reason=str(error))
            return None
        _log.info("TLS files read again", certificate=str(self._files.certificate))
        return self.configuration


def _read(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    certificate, key = Named("CAIRN_TLS_CERTIFICATE", files.certificate), Named("CAIRN_TLS_KEY", files.key)
    # gRPC would accept unusable files and then reject every client, without a message to the operator.
    _context(files)
    client_ca = None if files.client_ca is None else Named("CAIRN_TLS_CLIENT_CA", files.client_ca).read()
    return grpc.ssl_server_certificate_configuration([(key.read(), certificate.read())], client_ca)


def _version_of(files: TlsFiles) -> tuple[tuple[int, int, int] | None, ...]:
    return tuple(_stamp_of(path) for path in files.paths)


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
