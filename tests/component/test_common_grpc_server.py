"""Every server: calls need an API key and a deadline, health checks do not, and only loopback needs no TLS."""

import asyncio
import re
from contextlib import asynccontextmanager

import grpc
import pytest
import structlog
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cairn.v1 import catalog_pb2, catalog_pb2_grpc, recommender_pb2, recommender_pb2_grpc
from deploy.local.demo_tenant import create_demo_tenant
from services.common.auth.api_keys import create_api_key, revoke_api_keys
from services.common.auth.tenant import ALL_SCOPES, Scope, hash_api_key
from services.common.auth.tenants_file import load_tenants
from services.common.rpc.addresses import ListenAddressError, check_listen_address
from services.common.rpc.call_context import current_tenant
from services.common.rpc.rate_limits import RateLimit
from services.common.rpc.server import GrpcServer, ServerOptions
from services.common.rpc.statuses import (
    FieldViolation,
    abort,
    invalid_argument,
    not_found,
    retry_after_s_of,
    violations_of,
)


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
    api_key = create_api_key(tenants_file, "riverbend", "test", ALL_SCOPES)
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


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051", "cairn.example.org:50051"])
def test_a_server_that_other_machines_can_reach_refuses_to_start_with_the_public_key(tmp_path, listen):
    create_demo_tenant(tmp_path / "tenants.yaml")
    with pytest.raises(ListenAddressError, match="can be reached from other machines, but tenant 'demo'"):
        GrpcServer(ServerOptions(listen, insecure=True), load_tenants(tmp_path / "tenants.yaml"))


async def test_a_public_key_that_comes_while_a_server_runs_is_accepted_on_loopback_only(tmp_path):
    tenants_file = tmp_path / "tenants.yaml"
    create_api_key(tenants_file, "riverbend", "test", ALL_SCOPES)
    nearby, reachable = load_tenants(tenants_file), load_tenants(tenants_file)
    GrpcServer(ServerOptions("127.0.0.1:0"), nearby)
    GrpcServer(ServerOptions("0.0.0.0:0", insecure=True), reachable)
    public = create_demo_tenant(tenants_file)
    assert nearby.credential(public).tenant.name == "demo"
    assert reachable.credential(public) is None


async def test_the_tenant_comes_from_the_key(server):
    _, channel, api_key = server
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    reply = await stub.GetSkill(catalog_pb2.GetSkillRequest(id="x"), metadata=bearer(api_key), timeout=5)
    assert reply.skill.id == "riverbend"


async def test_a_client_stream_is_authenticated_in_the_same_way(server):
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
async def test_a_call_without_a_known_key_is_refused_with_the_remedy(server, metadata, said):
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


async def test_health_needs_no_key_and_reports_not_serving_until_set(server):
    inner, channel, _ = server
    health = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="cairn.v1.CatalogService")
    assert (await health.Check(request, timeout=5)).status == health_pb2.HealthCheckResponse.NOT_SERVING
    await inner.set_serving(serving=True)
    assert (await health.Check(request, timeout=5)).status == health_pb2.HealthCheckResponse.SERVING


async def test_a_port_in_use_is_reported_with_the_remedy(server):
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
def test_an_address_that_other_machines_can_reach_must_be_allowed_explicitly(listen):
    with pytest.raises(ListenAddressError, match="CAIRN_INSECURE"):
        check_listen_address(listen, insecure=False)
    check_listen_address(listen, insecure=True)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:80", "[::1]:1"])
def test_loopback_is_always_allowed(listen):
    check_listen_address(listen, insecure=False)


def test_an_address_without_a_port_is_refused():
    with pytest.raises(ListenAddressError, match="host:port"):
        check_listen_address("127.0.0.1", insecure=False)


# Scopes and revocation.


@asynccontextmanager
async def serving(tenants_file, servicer=None, **options):
    server = GrpcServer(ServerOptions("127.0.0.1:0", drain_s=0.1, **options), load_tenants(tenants_file))
    server.register(
        lambda inner: catalog_pb2_grpc.add_CatalogServiceServicer_to_server(servicer or EchoTenant(), inner),
        "cairn.v1.CatalogService",
    )
    address = await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield catalog_pb2_grpc.CatalogServiceStub(channel), channel
    finally:
        await server.stop()


async def refusal_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.CATALOG])
async def test_a_key_without_the_methods_scope_is_refused_with_the_scope_it_needs(tmp_path, scope):
    api_key = create_api_key(tmp_path / "t.yaml", "riverbend", "gradebook", [scope])
    async with serving(tmp_path / "t.yaml") as (stub, _):
        for method, call in {
            "GetSkill": stub.GetSkill(catalog_pb2.GetSkillRequest(id="x"), metadata=bearer(api_key), timeout=5),
            "ImportCatalog": stub.ImportCatalog(iter(()), metadata=bearer(api_key), timeout=5),
        }.items():
            error = await refusal_of(call)
            assert error.code() == grpc.StatusCode.PERMISSION_DENIED
            assert f"'gradebook' ({hash_api_key(api_key)[:12]}) may be used for {scope}," in error.details()
            assert f"cairn.v1.CatalogService/{method} needs the scope catalog" in error.details()
            assert "cairn keys create --tenant riverbend --scope catalog" in error.details()
            assert api_key not in error.details()


@pytest.mark.parametrize("scopes", [None, [Scope.CATALOG], list(Scope)])
async def test_a_key_with_the_methods_scope_or_without_listed_scopes_is_admitted(tmp_path, scopes):
    path = tmp_path / "t.yaml"
    api_key = create_api_key(path, "riverbend", "gradebook", scopes or list(Scope))
    if scopes is None:
        # As a file of an earlier release has it.
        content = yaml.safe_load(path.read_text())
        del content["tenants"]["riverbend"]["api_keys"][0]["scopes"]
        path.write_text(yaml.safe_dump(content))
    async with serving(tmp_path / "t.yaml") as (stub, _):
        reply = await stub.GetSkill(catalog_pb2.GetSkillRequest(id="x"), metadata=bearer(api_key), timeout=5)
        assert reply.skill.id == "riverbend"


async def test_a_method_without_a_policy_in_its_contract_needs_the_scope_admin(tmp_path):
    catalog_key = create_api_key(tmp_path / "t.yaml", "riverbend", "a", [Scope.CATALOG])
    admin_key = create_api_key(tmp_path / "t.yaml", "riverbend", "b", [Scope.ADMIN])

    async def call(request, context):
        return current_tenant().name.encode()

    handlers = {"Call": grpc.unary_unary_rpc_method_handler(call)}
    server = GrpcServer(ServerOptions("127.0.0.1:0", drain_s=0.1), load_tenants(tmp_path / "t.yaml"))
    server.register(
        lambda inner: inner.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("no.Contract", handlers),)),
        "no.Contract",
    )
    async with grpc.aio.insecure_channel(await server.start()) as channel:
        stub = channel.unary_unary("/no.Contract/Call")
        error = await refusal_of(stub(b"", metadata=bearer(catalog_key), timeout=5))
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED
        assert await stub(b"", metadata=bearer(admin_key), timeout=5) == b"riverbend"
    await server.stop()


async def test_a_revoked_key_is_refused_and_a_new_one_admitted_without_a_restart(tmp_path):
    path = tmp_path / "t.yaml"
    revoked = create_api_key(path, "riverbend", "old", ALL_SCOPES)
    async with serving(path) as (stub, _):
        request = catalog_pb2.GetSkillRequest(id="x")
        await stub.GetSkill(request, metadata=bearer(revoked), timeout=5)
        made = create_api_key(path, "hilltop", "new", ALL_SCOPES)
        revoke_api_keys(path, "riverbend", "old")
        error = await refusal_of(stub.GetSkill(request, metadata=bearer(revoked), timeout=5))
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED
        assert "was revoked" in error.details()
        assert (await stub.GetSkill(request, metadata=bearer(made), timeout=5)).skill.id == "hilltop"


# Rate limits.


async def test_a_tenant_over_its_limit_gets_a_retry_delay_and_others_are_not_affected(tmp_path):
    path = tmp_path / "t.yaml"
    river, also_river = (create_api_key(path, "riverbend", name, ALL_SCOPES) for name in ("a", "b"))
    hill = create_api_key(path, "hilltop", "a", ALL_SCOPES)
    request = catalog_pb2.GetSkillRequest(id="x")
    async with serving(path, rate_limit=RateLimit(calls_per_s=0.01, burst=2)) as (stub, _):
        for api_key in (river, also_river):
            await stub.GetSkill(request, metadata=bearer(api_key), timeout=5)
        error = await refusal_of(stub.GetSkill(request, metadata=bearer(river), timeout=5))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 90 < retry_after_s_of(error) <= 100
        assert "tenant 'riverbend' exceeds its rate limit" in error.details()
        assert (await stub.GetSkill(request, metadata=bearer(hill), timeout=5)).skill.id == "hilltop"


async def test_refused_calls_do_not_count_towards_the_tenants_limit(tmp_path):
    path = tmp_path / "t.yaml"
    narrow = create_api_key(path, "riverbend", "a", [Scope.INGEST])
    wide = create_api_key(path, "riverbend", "b", ALL_SCOPES)
    request = catalog_pb2.GetSkillRequest(id="x")
    async with serving(path, rate_limit=RateLimit(calls_per_s=0.01, burst=1)) as (stub, _):
        for metadata, timeout in ((bearer(narrow), 5), (bearer("wrong"), 5), (bearer(wide), None)):
            await refusal_of(stub.GetSkill(request, metadata=metadata, timeout=timeout))
        await stub.GetSkill(request, metadata=bearer(wide), timeout=5)


# Streams of replies.


class Streaming(recommender_pb2_grpc.RecommendationServiceServicer):
    async def Subscribe(self, request, context):  # noqa: N802 - gRPC's name.
        name = current_tenant().name
        await context.write(update_of(name))
        await context.write(update_of(name))


class Yielding(recommender_pb2_grpc.RecommendationServiceServicer):
    async def Subscribe(self, request, context):  # noqa: N802 - gRPC's name.
        for _ in range(2):
            yield update_of(current_tenant().name)


def update_of(name):
    return recommender_pb2.SubscribeResponse(update=recommender_pb2.LearnerUpdate(learner_id=name))


@asynccontextmanager
async def streaming(tmp_path, servicer, **options):
    server = GrpcServer(ServerOptions("127.0.0.1:0", drain_s=0.1, **options), load_tenants(tmp_path / "t.yaml"))
    server.register(
        lambda inner: recommender_pb2_grpc.add_RecommendationServiceServicer_to_server(servicer, inner),
        "cairn.v1.RecommendationService",
    )
    address = await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield recommender_pb2_grpc.RecommendationServiceStub(channel)
    finally:
        await server.stop()


@pytest.mark.parametrize("servicer", [Streaming, Yielding])
async def test_a_stream_of_replies_is_authenticated_in_the_same_way_but_needs_no_deadline(tmp_path, servicer):
    api_key = create_api_key(tmp_path / "t.yaml", "riverbend", "a", ALL_SCOPES)
    narrow = create_api_key(tmp_path / "t.yaml", "riverbend", "b", [Scope.INGEST])
    request = recommender_pb2.SubscribeRequest()
    async with streaming(tmp_path, servicer()) as stub:
        call = stub.Subscribe(request, metadata=(*bearer(api_key), ("x-request-id", "seven")))
        assert [reply.update.learner_id async for reply in call] == ["riverbend", "riverbend"]
        assert request_id_of(await call.trailing_metadata()) == "seven"
        for metadata, code in (((), "UNAUTHENTICATED"), (bearer(narrow), "PERMISSION_DENIED")):
            refused = await refusal_of(anext(aiter(stub.Subscribe(request, metadata=metadata))))
            assert refused.code().name == code


async def test_streams_count_towards_the_tenants_limit(tmp_path):
    api_key = create_api_key(tmp_path / "t.yaml", "riverbend", "a", ALL_SCOPES)
    request = recommender_pb2.SubscribeRequest()
    async with streaming(tmp_path, Streaming(), rate_limit=RateLimit(calls_per_s=0.01, burst=1)) as stub:
        assert len([reply async for reply in stub.Subscribe(request, metadata=bearer(api_key))]) == 2
        refused = await refusal_of(anext(aiter(stub.Subscribe(request, metadata=bearer(api_key)))))
        assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


# Request ids.


class Logging(catalog_pb2_grpc.CatalogServiceServicer):
    def __init__(self):
        self.both = asyncio.Barrier(2)
        self.seen = {}

    async def GetSkill(self, request, context):  # noqa: N802 - gRPC's name.
        await self.both.wait()
        self.seen[request.id] = structlog.contextvars.get_contextvars()["request_id"]
        if request.id == "absent":
            await abort(context, not_found("there is none"))
        return catalog_pb2.GetSkillResponse()


def request_id_of(metadata):
    (value,) = [value for name, value in metadata if name == "x-request-id"]
    return value


async def test_the_callers_request_id_is_on_the_calls_log_lines_and_comes_back_even_with_an_error(tmp_path):
    api_key = create_api_key(tmp_path / "t.yaml", "riverbend", "a", ALL_SCOPES)
    servicer = Logging()
    async with serving(tmp_path / "t.yaml", servicer) as (stub, _):
        calls = {
            name: stub.GetSkill(
                catalog_pb2.GetSkillRequest(id=name),
                metadata=(*bearer(api_key), ("x-request-id", f"trace/{name}:1")),
                timeout=5,
            )
            for name in ("present", "absent")
        }
        assert request_id_of(await calls["present"].trailing_metadata()) == "trace/present:1"
        error = await refusal_of(calls["absent"])
        assert error.code() == grpc.StatusCode.NOT_FOUND
        assert request_id_of(error.trailing_metadata()) == "trace/absent:1"
        assert "grpc-status-details-bin" in dict(error.trailing_metadata())
        # Both were in flight at once.
        assert servicer.seen == {"present": "trace/present:1", "absent": "trace/absent:1"}


@pytest.mark.parametrize("given", [(), (("x-request-id", "two words"),), (("x-request-id", "x" * 129),)])
async def test_a_call_without_a_usable_request_id_gets_a_new_one(server, given):
    _, channel, api_key = server
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    ids = []
    for _ in range(2):
        call = stub.GetSkill(catalog_pb2.GetSkillRequest(), metadata=(*bearer(api_key), *given), timeout=5)
        await call
        ids.append(request_id_of(await call.trailing_metadata()))
    assert all(re.fullmatch(r"[0-9a-f]{32}", request_id) for request_id in ids)
    assert ids[0] != ids[1]


async def test_a_refused_call_has_its_request_id_too(server):
    _, channel, api_key = server
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    given = ("x-request-id", "seven")
    without_key = stub.GetSkill(catalog_pb2.GetSkillRequest(), metadata=(given,), timeout=5)
    without_deadline = stub.GetSkill(catalog_pb2.GetSkillRequest(), metadata=(*bearer(api_key), given))
    for call in (without_key, without_deadline):
        assert request_id_of((await refusal_of(call)).trailing_metadata()) == "seven"


def audits(lines):
    return [line for line in lines if line["event"] == "audit"]


async def import_nothing(channel, metadata):
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    request = catalog_pb2.ImportCatalogRequest(skills=[catalog_pb2.Skill(id="secret-skill")])
    return await stub.ImportCatalog(iter([request]), metadata=metadata, timeout=5)


async def test_a_call_that_changes_something_is_logged_with_its_key_and_without_its_payload(server):
    _, channel, api_key = server
    with structlog.testing.capture_logs() as lines:
        await import_nothing(channel, bearer(api_key))
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        await stub.GetSkill(catalog_pb2.GetSkillRequest(id="x"), metadata=bearer(api_key), timeout=5)
    (line,) = audits(lines)
    assert (line["method"], line["tenant"]) == ("cairn.v1.CatalogService/ImportCatalog", "riverbend")
    assert (line["code"], line["audit"]) == (0, True)
    assert line["api_key"]
    assert line["api_key"] != api_key
    assert "secret-skill" not in str(lines)


async def test_a_refused_call_is_logged_too(server):
    _, channel, _ = server
    with structlog.testing.capture_logs() as lines, pytest.raises(grpc.aio.AioRpcError):
        await import_nothing(channel, bearer("not-a-key"))
    (line,) = audits(lines)
    assert (line["tenant"], line["api_key"], line["code"]) == ("", "", grpc.StatusCode.UNAUTHENTICATED.value[0])
