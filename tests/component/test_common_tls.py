"""Servers with TLS: clients that trust them can connect, mutual TLS requires more, renewal needs no restart."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs

from cairn.v1 import catalog_pb2, catalog_pb2_grpc
from deploy.kafka.certificates import Authority
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES
from services.common.auth.tenants_file import load_tenants
from services.common.certificates import CertificateFileError
from services.common.rpc.addresses import ListenAddressError
from services.common.rpc.call_context import current_tenant
from services.common.rpc.server import GrpcServer, ServerOptions
from services.common.rpc.tls import TlsFiles, server_credentials


class EchoTenant(catalog_pb2_grpc.CatalogServiceServicer):
    async def GetSkill(self, request, context):  # noqa: N802 - gRPC's name.
        return catalog_pb2.GetSkillResponse(skill=catalog_pb2.Skill(id=current_tenant().name))


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "stranger")


@pytest.fixture(scope="module")
def signed(authority):
    return authority.sign("server")


@pytest.fixture
def files(signed, tmp_path):
    """A server's files in a separate folder, where they may be replaced."""
    certificate, key = (shutil.copy(path, tmp_path / path.name) for path in signed)
    return TlsFiles(certificate, key)


@asynccontextmanager
async def serving(files, tmp_path, listen="127.0.0.1:0"):
    api_key = create_api_key(tmp_path / "tenants.yaml", "riverbend", "test", ALL_SCOPES)
    server = GrpcServer(ServerOptions(listen, drain_s=0.1, tls=files), load_tenants(tmp_path / "tenants.yaml"))
    server.register(
        lambda inner: catalog_pb2_grpc.add_CatalogServiceServicer_to_server(EchoTenant(), inner),
        "cairn.v1.CatalogService",
    )
    address = await server.start()
    try:
        yield address, api_key
    finally:
        await server.stop()


async def call(address, api_key, *, ca, client=None):
    certificate, key = (path.read_bytes() for path in client) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(ca.certificate.read_bytes(), key, certificate)
    # A separate pool, so that no session of an earlier channel is resumed.
    async with grpc.aio.secure_channel(address, credentials, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        metadata = (("authorization", f"Bearer {api_key}"),)
        reply = await stub.GetSkill(catalog_pb2.GetSkillRequest(id="x"), metadata=metadata, timeout=5)
        return reply.skill.id


async def refusal_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code()


async def test_a_client_that_trusts_the_authority_is_answered(files, tmp_path, authority):
    async with serving(files, tmp_path) as (address, api_key):
        assert await call(address, api_key, ca=authority) == "riverbend"


async def test_a_call_over_tls_still_needs_an_api_key(files, tmp_path, authority):
    async with serving(files, tmp_path) as (address, _):
        assert await refusal_of(call(address, "wrong", ca=authority)) == grpc.StatusCode.UNAUTHENTICATED


async def test_a_client_that_trusts_another_authority_or_uses_plain_text_cannot_connect(files, tmp_path, stranger):
    async with serving(files, tmp_path) as (address, api_key):
        assert await refusal_of(call(address, api_key, ca=stranger)) == grpc.StatusCode.UNAVAILABLE
        async with grpc.aio.insecure_channel(address) as channel:
            stub = catalog_pb2_grpc.CatalogServiceStub(channel)
            plain = stub.GetSkill(catalog_pb2.GetSkillRequest(), timeout=5)
            assert await refusal_of(plain) == grpc.StatusCode.UNAVAILABLE


async def test_mutual_tls_admits_only_clients_with_a_certificate_of_the_named_authority(
    files, tmp_path, authority, stranger
):
    mutual = replace(files, client_ca=authority.certificate)
    async with serving(mutual, tmp_path) as (address, api_key):
        assert await call(address, api_key, ca=authority, client=authority.sign("platform")) == "riverbend"
        assert await refusal_of(call(address, api_key, ca=authority)) == grpc.StatusCode.UNAVAILABLE
        foreign = stranger.sign("platform")
        assert await refusal_of(call(address, api_key, ca=authority, client=foreign)) == grpc.StatusCode.UNAVAILABLE


async def test_a_renewed_certificate_is_served_to_the_next_connection(files, tmp_path, authority, stranger):
    async with serving(files, tmp_path) as (address, api_key):
        assert await call(address, api_key, ca=authority) == "riverbend"
        for path, fresh in zip((files.certificate, files.key), stranger.sign("server"), strict=True):
            shutil.copy(fresh, path)
        assert await call(address, api_key, ca=stranger) == "riverbend"
        assert await refusal_of(call(address, api_key, ca=authority)) == grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_without_its_key_changes_nothing_until_the_key_is_there_too(
    files, tmp_path, authority, stranger
):
    certificate, key = stranger.sign("server")
    async with serving(files, tmp_path) as (address, api_key):
        shutil.copy(certificate, files.certificate)
        with capture_logs() as logs:
            assert await call(address, api_key, ca=authority) == "riverbend"
        assert [entry["log_level"] for entry in logs] == ["error"]
        shutil.copy(key, files.key)
        assert await call(address, api_key, ca=stranger) == "riverbend"


async def test_with_tls_a_server_may_listen_on_any_address(files):
    GrpcServer(ServerOptions("0.0.0.0:0", tls=files), None)
    with pytest.raises(ListenAddressError, match="CAIRN_TLS_CERTIFICATE"):
        GrpcServer(ServerOptions("0.0.0.0:0"), None)


async def test_unusable_files_are_named_at_the_start(files, tmp_path):
    missing = replace(files, key=tmp_path / "none.key")
    with pytest.raises(CertificateFileError, match=r"CAIRN_TLS_KEY=.*none\.key cannot be read \(No such file"):
        await GrpcServer(ServerOptions("127.0.0.1:0", tls=missing), None).start()


def test_a_key_of_another_certificate_a_text_and_an_empty_authority_are_refused_with_the_setting(
    files, tmp_path, authority
):
    _, other_key = authority.sign("other")
    (tmp_path / "empty.pem").write_text("")
    for wrong, named in (
        (replace(files, key=other_key), "CAIRN_TLS_KEY=.*other.key is not the key of CAIRN_TLS_CERTIFICATE="),
        (replace(files, certificate=tmp_path / "empty.pem"), "CAIRN_TLS_CERTIFICATE=.*empty.pem"),
        (replace(files, client_ca=tmp_path / "empty.pem"), "CAIRN_TLS_CLIENT_CA=.*holds no certificate"),
    ):
        with pytest.raises(CertificateFileError, match=named):
            server_credentials(wrong)


def test_an_encrypted_key_is_refused_without_asking_for_a_password(files, tmp_path):
    encrypted = tmp_path / "encrypted.key"
    key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    encrypted.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    with pytest.raises(CertificateFileError, match=r"CAIRN_TLS_KEY=.* is encrypted: give an unencrypted key"):
        server_credentials(replace(files, key=encrypted))
