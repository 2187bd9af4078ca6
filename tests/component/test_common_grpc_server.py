"""Every server: calls need a known key and a deadline, health does not, and only loopback is open."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cairn.v1 import catalog_pb2, catalog_pb2_grpc
from services.common.grpc_server import (
    GrpcServer,
    ListenAddressError,
    ServerOptions,
    check_listen_address,
    current_tenant,
)
from services.common.statuses import FieldViolation, abort, invalid_argument, violations_of
from services.common.tenants import create_api_key, load_tenants


class EchoTenant(catalog_pb2_grpc.CatalogServiceServicer):
    async def GetSkill(self, request, context):  # noqa: N802 - gRPC's name.
        return catalog_pb2.GetSkillResponse(skill=catalog_pb2.Skill(id=current_tenant().name))

    async def ListSkills(self, request, context):  # noqa: N802 - gRPC's name.
        await abort(context, invalid_argument(FieldViolation(f"skills[{n}].id", "x" * 100) for n in range(1_000)))

    async def ImportCatalog(self, request_iterator, context):  # noqa: N802 - gRPC's name.
        count = 0
        async for request in request_iterator:
            count += len(request.skills)
        return catalog_pb2.ImportCatalogResponse(skills_written=count)


@pytest.fixture
async def server(tmp_path):
    tenants_file = tmp_path / "tenants.yaml"
    api_key = create_api_key(tenants_file, "riverbend", "test")
    server = GrpcServer(ServerOptions("127.0.0.1:0", reflection=True, drain_s=0.1), load_tenants(tenants_file))
    server.register(
        lambda inner: catalog_pb2_grpc.add_CatalogServiceServicer_to_server(EchoTenant(), inner),
        "cairn.v1.CatalogService",
    )
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        yield server, channel, api_key
    await server.stop()


def bearer(api_key):
    return (("authorization", f"Bearer {api_key}"),)


async def test_the_tenant_comes_from_the_key(server):
    _, channel, api_key = server
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    reply = await stub.GetSkill(catalog_pb2.GetSkillRequest(id="x"), metadata=bearer(api_key), timeout=5)
    assert reply.skill.id == "riverbend"


async def test_a_client_stream_is_guarded_alike(server):
    _, channel, api_key = server
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)

    def requests():
        yield catalog_pb2.ImportCatalogRequest(skills=[catalog_pb2.Skill(id="a")])
        yield catalog_pb2.ImportCatalogRequest(skills=[catalog_pb2.Skill(id="b")])

    reply = await stub.ImportCatalog(requests(), metadata=bearer(api_key), timeout=5)
    assert reply.skills_written == 2
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ImportCatalog(requests(), timeout=5)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("metadata", "said"),
    [((), "there is no API key"), (bearer("wrong"), "not known"), ((("authorization", "Basic x"),), "no API key")],
)
async def test_a_call_without_a_known_key_is_refused_and_told_how(server, metadata, said):
    _, channel, _ = server
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.GetSkill(catalog_pb2.GetSkillRequest(id="x"), metadata=metadata, timeout=5)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert said in refused.value.details()
    assert "authorization: Bearer" in refused.value.details()


async def test_a_call_without_a_deadline_is_refused(server):
    _, channel, api_key = server
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.GetSkill(catalog_pb2.GetSkillRequest(id="x"), metadata=bearer(api_key))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "deadline" in refused.value.details()


async def test_a_thousand_violations_fit_into_one_status(server):
    _, channel, api_key = server
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ListSkills(catalog_pb2.ListSkillsRequest(), metadata=bearer(api_key), timeout=5)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "997 more" in refused.value.details()
    listed = violations_of(refused.value)
    assert listed[0] == FieldViolation("skills[0].id", "x" * 100)
    assert 10 < len(listed) < 1_000


async def test_health_needs_no_key_and_says_not_serving_until_told(server):
    inner, channel, _ = server
    health = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="cairn.v1.CatalogService")
    assert (await health.Check(request, timeout=5)).status == health_pb2.HealthCheckResponse.NOT_SERVING
    await inner.set_serving(serving=True)
    assert (await health.Check(request, timeout=5)).status == health_pb2.HealthCheckResponse.SERVING


async def test_a_taken_port_is_named_with_what_to_do(server):
    _, channel, _ = server
    del channel
    first = GrpcServer(ServerOptions("127.0.0.1:0"), None)
    address = await first.start()
    try:
        with pytest.raises(ListenAddressError, match=r"CAIRN_LISTEN"):
            await GrpcServer(ServerOptions(address), None).start()
    finally:
        await first.stop()


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "192.168.0.1:1", "example.org:1", "[::]:1"])
def test_an_address_that_others_can_reach_needs_consent(listen):
    with pytest.raises(ListenAddressError, match="CAIRN_INSECURE"):
        check_listen_address(listen, insecure=False)
    check_listen_address(listen, insecure=True)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:80", "[::1]:1"])
def test_loopback_is_always_allowed(listen):
    check_listen_address(listen, insecure=False)


def test_an_address_without_a_port_is_refused():
    with pytest.raises(ListenAddressError, match="host:port"):
        check_listen_address("127.0.0.1", insecure=False)
