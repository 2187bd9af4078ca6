"""Files of certificates and keys, and TLS handshakes that fail."""

from __future__ import annotations

import ssl
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives import serialization

from deploy.kafka.certificates import Authority
from services.common.certificates import CertificateFileError, Named, handshake_problem, load_chain


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates") / "authority")


@pytest.fixture(scope="module")
def signed(authority):
    return authority.sign("server")


def failed_handshake(signed, client, host="localhost", client_ca=None):
    """The error that a client gets from a handshake, without a network."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(signed.certificate, signed.key)
    if client_ca:
        server.load_verify_locations(client_ca)
        server.verify_mode = ssl.CERT_REQUIRED
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(back, there, server_hostname=host)
    theirs = server.wrap_bio(there, back, server_side=True)
    for _ in range(6):
        try:
            ours.do_handshake()
            # A refused client certificate is known only after the handshake.
            ours.read(1)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            return error
        with suppress(ssl.SSLError):
            theirs.do_handshake()
    raise AssertionError("the handshake did not fail")


def trusting(authority):
    return ssl.create_default_context(cafile=authority.certificate)


def explained(error):
    return handshake_problem(error, "broker:9093", "CA=/etc/ca.pem")


def test_a_certificate_of_an_unknown_authority_is_said_with_where_authorities_are(signed, tmp_path):
    error = failed_handshake(signed, trusting(Authority(tmp_path / "stranger")))
    assert explained(error) == (
        "the certificate of broker:9093 is not trusted, because no authority in CA=/etc/ca.pem signed it: give the "
        "certificate of the authority that did, in PEM"
    )


def test_a_certificate_of_another_host_is_said(signed, authority):
    error = failed_handshake(signed, trusting(authority), host="elsewhere.example")
    assert "the certificate of broker:9093 names other hosts: connect to one of these" in explained(error)


def test_a_server_that_wants_a_client_certificate_is_said(signed, authority):
    error = failed_handshake(signed, trusting(authority), client_ca=authority.certificate)
    assert explained(error) == (
        "broker:9093 refused the connection (certificate required): give a client certificate from an authority that "
        "it trusts"
    )


@pytest.mark.parametrize(
    ("code", "said"), [(10, "has expired"), (9, "not valid yet: check the clocks"), (23, "revoked")]
)
def test_other_reasons_for_distrust_are_said(code, said):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "certificate revoked"
    assert said in explained(error)


def test_a_server_of_plain_text_is_told_from_one_with_tls(authority):
    answered, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting(authority).wrap_bio(answered, sent, server_hostname="localhost")
    answered.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ssl.SSLError) as failed:
        client.do_handshake()
    assert explained(failed.value) == "broker:9093 did not answer as TLS wants: check that it speaks TLS on this port"


def test_the_reason_is_found_behind_the_error_that_a_library_raises():
    library = ConnectionError("no connection")
    library.__context__ = ssl.SSLError(1, "anything")
    assert "TLS to broker:9093 failed" in explained(library)
    assert explained(ConnectionError("refused")) is None


def test_an_encrypted_key_is_used_only_with_its_password(signed, tmp_path):
    key = serialization.load_pem_private_key(signed.key.read_bytes(), password=None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    files = Named("CERTIFICATE", signed.certificate), Named("KEY", encrypted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_chain(context, *files, "secret")
    with pytest.raises(CertificateFileError, match=r"KEY=.* is encrypted: give an unencrypted key"):
        load_chain(context, *files)


def test_files_that_hold_something_else_are_named(signed, tmp_path):
    (text := tmp_path / "text").write_text("no certificate")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(signed.certificate.read_bytes().replace(b"M", b"N"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for certificate, key, said in (
        (text, signed.key, "CERTIFICATE=.*text holds no certificate: give a certificate in PEM"),
        (signed.certificate, text, "KEY=.*text holds no private key: give the key of CERTIFICATE="),
        (damaged, signed.key, "CERTIFICATE=.*damaged and KEY=.*cannot be used.*give an undamaged certificate"),
        (tmp_path, signed.key, r"CERTIFICATE=.*cannot be read \(Is a directory\): give a file"),
    ):
        with pytest.raises(CertificateFileError, match=said):
            load_chain(context, Named("CERTIFICATE", certificate), Named("KEY", key))
