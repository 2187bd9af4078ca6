"""An authority that signs certificates for hosts and clients on this machine, for tests and trials."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.processes import LOOPBACK

_DAYS = 30


class Signed(NamedTuple):
    """A certificate and its private key, in PEM; the key is PKCS #8, as Kafka reads it."""

    certificate: Path
    key: Path


class Authority:
    """A new authority.

    Attributes:
        certificate: its certificate, in PEM.
    """

    def __init__(self, directory: Path) -> None:
        """Args: `directory` for its files; it is created."""
        directory.mkdir(parents=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(f"authority {directory.name}")
        certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_CERTIFICATES_ONLY, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = directory / "authority.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def sign(
        self, name: str, *, user: str = "", group: str = "", addresses: Sequence[str] = (), names: Sequence[str] = ()
    ) -> Signed:
        """A certificate of a host or client on loopback, and its key, which only this user can read.

        Args:
            name: of the files.
            user: whom the certificate names; by default `name`.
            group: the group that Kubernetes takes the user to belong to.
            addresses: other IP addresses of the host.
            names: other names of the host.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = [x509.IPAddress(ipaddress.ip_address(address)) for address in (LOOPBACK, *addresses)]
        known_as = x509.SubjectAlternativeName([*hosts, *map(x509.DNSName, ("localhost", *names))])
        certificate = (
            _builder(_named(user or name, group), self._name, key.public_key())
            .add_extension(known_as, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        signed = Signed(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        signed.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        signed.key.touch(mode=0o600)
        signed.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return signed


_CERTIFICATES_ONLY = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _named(name: str, group: str = "") -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    # An hour ago: clocks of clients may differ.
    begins = datetime.now(UTC) - timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=_DAYS))
    )
