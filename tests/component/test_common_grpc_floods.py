"""Calls without a key, without a body or with far too much in it hold up nobody else."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY

from cairn.v1 import catalog_pb2, catalog_pb2_grpc
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import Scope
from services.common.auth.tenants_file import load_tenants
from services.common.rpc.call_context import current_tenant
from services.common.rpc.open_calls import OpenCallLimits
from services.common.rpc.rate_limits import RateLimit
from services.common.rpc.server import GrpcServer, ServerOptions
from services.common.rpc.slots import SlotLimits
from services.common.rpc.statuses import retry_after_s_of

SERVICE = "cairn.v1.CatalogService"
GET_SKILL = f"/{SERVICE}/GetSkill"
LOCAL_POOL = (("grpc.use_local_subchannel_pool", 1),)


class Waiting(catalog_pb2_grpc.CatalogServiceServicer):
    """Answers GetSkill of `wait` only once released, and fails for `fail`."""

    def __init__(self):
        self.released = asyncio.Event()

    async def GetSkill(self, request, context):  # noqa: N802 - gRPC's name.
        if request.id == "wait":
            await self.released.wait()
        if request.id == "fail":
            raise RuntimeError("the secret is 42")
        return catalog_pb2.GetSkillResponse(skill=catalog_pb2.Skill(id=current_tenant().name))

    async def BatchPut(self, request, context):  # noqa: N802 - gRPC's name.
        return catalog_pb2.BatchPutResponse()

    async def ImportCatalog(self, request_iterator, context):  # noqa: N802 - gRPC's name.
        async for _ in request_iterator:
            pass
        return catalog_pb2.ImportCatalogResponse()


class Scene:
    def __init__(self, address, river, hill, servicer):
        self.address = address
        self.river = (("authorization", f"Bearer {river}"),)
        self.hill = (("authorization", f"Bearer {hill}"),)
        self.servicer = servicer
        self.channels = []

    def channel(self):
        self.channels.append(grpc.aio.insecure_channel(self.address, options=LOCAL_POOL))
        return self.channels[-1]

    def get_skill(self, metadata, name="x", channel=None):
        stub = catalog_pb2_grpc.CatalogServiceStub(channel or self.channel())
        return stub.GetSkill(catalog_pb2.GetSkillRequest(id=name), metadata=metadata, timeout=10)

    def headers_only(self, metadata, method=GET_SKILL, channel=None, timeout=10):
        """A call whose body never comes."""
        open_call = (channel or self.channel()).stream_unary(method)
        return open_call(metadata=metadata, timeout=timeout)

    async def hold(self, metadata, calls, channel=None):
        """Slots, held by calls whose bodies do not come, from the time that this returns."""
        channel = channel or self.channel()
        await self.check(channel)
        held = [self.headers_only(metadata, channel=channel, timeout=60) for _ in range(calls)]
        # The server takes the calls of a connection in order.
        for _ in range(5):
            await self.check(channel)
        return held

    async def check(self, channel=None):
        stub = health_pb2_grpc.HealthStub(channel or self.channel())
        return (await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)).status


@asynccontextmanager
async def scene(tmp_path, **options):
    path = tmp_path / "t.yaml"
    river, hill = (create_api_key(path, tenant, "k", [Scope.CATALOG]) for tenant in ("riverbend", "hilltop"))
    servicer = Waiting()
    server = GrpcServer(ServerOptions("127.0.0.1:0", drain_s=0.1, **options), load_tenants(path))
    server.register(lambda inner: catalog_pb2_grpc.add_CatalogServiceServicer_to_server(servicer, inner), SERVICE)
    found = Scene(await server.start(), river, hill, servicer)
    await server.set_serving(serving=True)
    try:
        yield found
    finally:
        for channel in found.channels:
            await channel.close()
        await server.stop()


async def refusal_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value


def refused_so_far(reason):
    return REGISTRY.get_sample_value("cairn_grpc_refused_calls_total", {"reason": reason}) or 0


async def test_a_call_without_a_key_is_refused_on_its_headers_while_its_body_has_not_come(tmp_path):
    async with scene(tmp_path, body_timeout_s=60) as at:
        before = refused_so_far("api_key")
        errors = await asyncio.gather(*(refusal_of(at.headers_only(())) for _ in range(3)))
        assert {error.code() for error in errors} == {grpc.StatusCode.UNAUTHENTICATED}
        assert refused_so_far("api_key") - before == 3


async def test_the_body_of_a_call_without_a_key_is_not_decoded(tmp_path):
    async with scene(tmp_path) as at:
        error = await refusal_of(at.channel().unary_unary(GET_SKILL)(b"\xff\xff", timeout=10))
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("method", ["GetSkill", "ImportCatalog"])
async def test_a_call_whose_body_does_not_come_ends_and_gives_its_slot_back(tmp_path, method):
    async with scene(tmp_path, body_timeout_s=0.2, slots=SlotLimits(calls=1)) as at:
        error = await refusal_of(at.headers_only(at.river, f"/{SERVICE}/{method}"))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert "did not come within 0.2 s (CAIRN_BODY_TIMEOUT_S)" in error.details()
        assert (await at.get_skill(at.river)).skill.id == "riverbend"


async def test_a_call_that_is_cancelled_while_its_body_is_awaited_gives_its_slot_back(tmp_path):
    async with scene(tmp_path, body_timeout_s=60, slots=SlotLimits(of_tenant=1)) as at:
        (call,) = await at.hold(at.river, 1)
        assert (await refused_or_none(at.get_skill(at.river))) is grpc.StatusCode.RESOURCE_EXHAUSTED
        call.cancel()
        await admitted_again(at)


async def admitted_again(at):
    async with asyncio.timeout(20):
        while (await refused_or_none(at.get_skill(at.river))) is not None:
            pass


async def refused_or_none(call):
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


@pytest.mark.parametrize(
    ("limits", "whose", "setting"),
    [
        (SlotLimits(of_tenant=2), "of tenant 'riverbend' ", "CAIRN_TENANT_CONCURRENT_CALLS"),
        (SlotLimits(calls=2), "", "CAIRN_MAX_CONCURRENT_CALLS"),
    ],
)
async def test_a_call_beyond_a_limit_is_refused_with_the_limit_the_setting_and_a_delay(
    tmp_path, limits, whose, setting
):
    async with scene(tmp_path, slots=limits) as at:
        held = await at.hold(at.river, 2)
        error = await refusal_of(at.get_skill(at.river))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert f"2 calls {whose}are being handled, and this server allows at most 2" in error.details()
        assert setting in error.details()
        assert retry_after_s_of(error) == 1.0
        held[0].cancel()
        await admitted_again(at)


async def test_a_tenant_that_holds_all_its_slots_takes_none_of_anothers(tmp_path):
    async with scene(tmp_path, slots=SlotLimits(calls=4, of_tenant=2)) as at:
        held = await at.hold(at.river, 3)
        assert (await refusal_of(at.get_skill(at.river))).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await at.get_skill(at.hill)).skill.id == "hilltop"
        assert [call.done() for call in held] == [False, False, True]


async def test_a_connection_holds_at_most_its_calls_and_the_others_wait_in_the_client(tmp_path):
    async with scene(tmp_path, slots=SlotLimits(on_connection=2)) as at:
        channel = at.channel()
        held = [asyncio.ensure_future(at.get_skill(at.river, "wait", channel)) for _ in range(3)]
        assert (await at.get_skill(at.river)).skill.id == "riverbend"
        at.servicer.released.set()
        assert [reply.skill.id for reply in await asyncio.gather(*held)] == ["riverbend"] * 3


# Health.


async def test_a_health_check_is_answered_when_every_slot_is_held(tmp_path):
    async with scene(tmp_path, slots=SlotLimits(calls=1)) as at:
        held = await at.hold(at.river, 1)
        assert (await refusal_of(at.get_skill(at.hill))).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await at.check() == health_pb2.HealthCheckResponse.SERVING
        assert not held[0].done()


async def test_watches_and_checks_without_a_body_take_no_slots_and_starve_no_check(tmp_path):
    limits = OpenCallLimits(streams=10, streams_on_connection=4, unfinished=8, timeout_s=60)
    async with scene(tmp_path, slots=SlotLimits(calls=2), open_calls=limits, body_timeout_s=60) as at:
        watches = []
        for _ in range(4):
            channel = at.channel()
            for _ in range(6):
                watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
                watches.append(asyncio.ensure_future(watch.read()))
                watches[-1].add_done_callback(lambda _, kept=watch: kept)
        seen = await asyncio.gather(*watches, return_exceptions=True)
        refusals = [error for error in seen if isinstance(error, grpc.aio.AioRpcError)]
        assert len(seen) - len(refusals) == 10
        assert {error.code() for error in refusals} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert any("at most 4; use Health/Check" in error.details() for error in refusals)
        channel = at.channel()
        unfinished = [at.headers_only((), "/grpc.health.v1.Health/Check", channel, timeout=60) for _ in range(40)]
        for _ in range(5):
            assert await at.check() == health_pb2.HealthCheckResponse.SERVING
        assert (await at.get_skill(at.hill)).skill.id == "hilltop"
        # Older ones made room, long before their own time was up. Calls of one client may arrive in any order.
        refused = [asyncio.ensure_future(refusal_of(call)) for call in unfinished]
        async with asyncio.timeout(20):
            for first in itertools.islice(asyncio.as_completed(refused), 40 - limits.unfinished):
                assert (await first).code() == grpc.StatusCode.DEADLINE_EXCEEDED
        for one in refused:
            one.cancel()
        await asyncio.gather(*refused, return_exceptions=True)


async def test_a_health_check_without_a_body_ends(tmp_path):
    async with scene(tmp_path, open_calls=OpenCallLimits(timeout_s=0.1)) as at:
        error = await refusal_of(at.headers_only((), "/grpc.health.v1.Health/Check"))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert "send the headers and the body together" in error.details()


# What is in a body.


@pytest.mark.parametrize("body", [b"\xff" * 100, b"\x0a\x02\xff\xfe", b"\x0a\x05a"])
async def test_bytes_that_are_no_request_are_an_invalid_argument(tmp_path, body):
    async with scene(tmp_path) as at:
        error = await refusal_of(at.channel().unary_unary(GET_SKILL)(body, metadata=at.river, timeout=10))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert f"its {len(body)} bytes are no cairn.v1.GetSkillRequest" in error.details()


async def test_a_call_that_ends_without_a_request_is_an_invalid_argument(tmp_path):
    async with scene(tmp_path) as at:
        call = at.channel().stream_unary(GET_SKILL)(iter(()), metadata=at.river, timeout=10)
        error = await refusal_of(call)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "without a request" in error.details()


async def test_millions_of_values_in_a_small_compressed_body_are_counted_and_refused(tmp_path):
    async with scene(tmp_path) as at:
        entries = b"\x0a\x00" * 2_000_000
        call = at.channel().unary_unary(f"/{SERVICE}/BatchPut")
        error = await refusal_of(call(entries, metadata=at.river, timeout=30, compression=grpc.Compression.Gzip))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "more than 50,000 values in all: cairn.v1.BatchPutRequest.skills" in error.details()


async def test_an_unexpected_failure_is_internal_with_the_request_id_and_without_its_text(tmp_path):
    async with scene(tmp_path) as at:
        with structlog.testing.capture_logs() as lines:
            error = await refusal_of(at.get_skill((*at.river, ("x-request-id", "seven")), "fail"))
        assert error.code() == grpc.StatusCode.INTERNAL
        assert error.details().endswith("give the operator this request id: seven")
        assert "secret" not in error.details()
        assert "RuntimeError" not in error.details()
        (line,) = [line for line in lines if line["event"] == "a call failed unexpectedly"]
        assert line["method"] == "cairn.v1.CatalogService/GetSkill"


# What a request counts as.


async def test_a_request_with_many_items_counts_as_several_calls(tmp_path):
    async with scene(tmp_path, rate_limit=RateLimit(calls_per_s=0.01, burst=10)) as at:
        # The contract: 20 entries of a batch count as one call.
        entries = [catalog_pb2.PutSkillRequest()] * 170
        stub = catalog_pb2_grpc.CatalogServiceStub(at.channel())
        await stub.BatchPut(catalog_pb2.BatchPutRequest(skills=entries), metadata=at.river, timeout=10)
        assert (await at.get_skill(at.river)).skill.id == "riverbend"
        error = await refusal_of(at.get_skill(at.river))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        # 10 - 8.5 - 1 = 0.5 calls are left, and half a call takes 50 s.
        assert 45 < retry_after_s_of(error) <= 50
        assert (await at.get_skill(at.hill)).skill.id == "hilltop"
