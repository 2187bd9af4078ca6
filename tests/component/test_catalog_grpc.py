"""The CatalogService over real gRPC, its log and view in memory."""

from dataclasses import replace

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry

from cairn.v1 import catalog_pb2, catalog_pb2_grpc
from services.catalog.bootstrap import CatalogOptions
from services.catalog.domain.model import Resource, Skill
from services.catalog.entrypoints.grpc import ImportLimits
from services.catalog.wire.resources import resource_to_proto
from services.catalog.wire.skills import skill_to_proto
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES
from services.common.resource_kinds import ResourceKindName
from services.common.rpc.statuses import violations_of
from tests.adapters.memory_catalog_log import MemoryCatalogLog
from tests.catalogs import LISTEN, grpc_server

REPLY_BYTES_MAX = 64 * 1024


class Client:
    def __init__(self, channel, api_key):
        self._stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {api_key}"),)

    def __getattr__(self, method):
        def call(request):
            return getattr(self._stub, method)(request, metadata=self._metadata, timeout=10)

        return call

    async def write(self, skills=(), resources=()):
        return await self.ImportCatalog(chunks(skills, resources))


def chunks(skills=(), resources=()):
    yield catalog_pb2.ImportCatalogRequest(skills=map(skill_to_proto, skills))
    for resource in resources:
        yield catalog_pb2.ImportCatalogRequest(resources=[resource_to_proto(resource)])


class Catalog:
    """A running service and what it stands on."""

    def __init__(self, log, view, registry, address, api_keys):
        self.log, self.view, self.registry, self.address, self.api_keys = log, view, registry, address, api_keys


@pytest.fixture
async def catalog(tmp_path):
    api_keys = {
        tenant: create_api_key(tmp_path / "t.yaml", tenant, "test", ALL_SCOPES) for tenant in ("riverbend", "hillside")
    }
    log, registry = MemoryCatalogLog(), CollectorRegistry()
    view = await log.view()
    options = CatalogOptions(
        replace(LISTEN, max_message_bytes=REPLY_BYTES_MAX), ImportLimits(records_max=1_200, bytes_max=200_000)
    )
    server = grpc_server(log, view, tmp_path / "t.yaml", registry=registry, options=options)
    address = await server.start()
    yield Catalog(log, view, registry, address, api_keys)
    await server.stop()


@pytest.fixture
async def client(catalog):
    async with grpc.aio.insecure_channel(catalog.address) as channel:
        yield Client(channel, catalog.api_keys["riverbend"])


@pytest.fixture
async def stranger(catalog):
    async with grpc.aio.insecure_channel(catalog.address) as channel:
        yield Client(channel, catalog.api_keys["hillside"])


def lesson(number, **columns):
    return Resource(id=f"r{number:04}", title=f"Lesson {number}", kind=ResourceKindName.LESSON, **columns)


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def retry_delay_s(error):
    status = rpc_status.from_call(error)
    for detail in status.details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return retry.retry_delay.ToMilliseconds() / 1000
    return None


async def test_an_import_returns_its_counts_and_is_readable_at_once(client):
    reply = await client.write([Skill(id="a"), Skill(id="b", prerequisites=("a",))], [lesson(1)])
    assert (reply.skills_written, reply.resources_written) == (2, 1)
    assert (reply.version.skills_offset, reply.version.resources_offset) == (2, 1)
    got = await client.GetResource(catalog_pb2.GetResourceRequest(id="r0001"))
    assert got.resource.kind == catalog_pb2.RESOURCE_KIND_LESSON
    assert got.resource.status == catalog_pb2.RESOURCE_STATUS_ACTIVE
    assert (await client.GetSkill(catalog_pb2.GetSkillRequest(id="b"))).skill.prerequisites == ["a"]


async def test_an_empty_import_writes_nothing(client):
    assert await client.write() == catalog_pb2.ImportCatalogResponse(version=catalog_pb2.CatalogVersion())


async def test_problems_are_named_by_their_place_in_the_whole_import_and_nothing_is_written(client, catalog):
    def stream():
        yield catalog_pb2.ImportCatalogRequest(skills=[catalog_pb2.Skill(id="a")])
        yield catalog_pb2.ImportCatalogRequest(skills=[catalog_pb2.Skill(id="b", prerequisites=["c"])])

    error = await refusal(client.ImportCatalog(stream()))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = violations_of(error)
    assert violation.field == "skills[1].prerequisites[0]"
    assert "'c'" in violation.reason
    assert catalog.log.skills == []


async def test_more_problems_than_a_status_can_carry_are_counted(client):
    error = await refusal(client.write([Skill(id=f"s{n}", importance=2.0) for n in range(500)]))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert 10 < len(violations_of(error)) < 500
    assert "and 497 more" in error.details()


async def test_an_unstated_kind_is_refused(client):
    resource = catalog_pb2.Resource(id="x", title="X")
    error = await refusal(client.ImportCatalog(iter([catalog_pb2.ImportCatalogRequest(resources=[resource])])))
    assert [violation.field for violation in violations_of(error)] == ["resources[0].kind"]


async def test_an_import_with_too_many_records_is_refused_with_the_remedy(client, catalog):
    error = await refusal(client.write([Skill(id=str(n)) for n in range(1_201)]))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "1,201 records so far, one import takes at most 1,200; send several, skills first" in error.details()
    assert catalog.log.skills == []


async def test_an_import_with_too_many_bytes_is_refused_with_the_remedy(client):
    def stream():
        for number in range(10):
            skill = catalog_pb2.Skill(id=str(number), statement="x" * 40_000)
            yield catalog_pb2.ImportCatalogRequest(skills=[skill])

    error = await refusal(client.ImportCatalog(stream()))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "bytes so far, one import takes at most 200,000; send several" in error.details()


async def test_a_log_that_cannot_be_reached_is_unavailable_with_a_time_to_retry(client, catalog):
    catalog.log.reachable = False
    error = await refusal(client.write([Skill(id="a")]))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert retry_delay_s(error) == 1.0
    assert "send the same import again" in error.details()
    assert (await client.ListSkills(catalog_pb2.ListSkillsRequest())).total_size == 0


async def test_a_recreated_log_is_a_failed_precondition(client, catalog):
    await client.write([Skill(id="a")])
    catalog.log.skills.clear()
    error = await refusal(client.write([Skill(id="b")]))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "restart the catalog service" in error.details()


@pytest.mark.parametrize(
    ("method", "request_message"),
    [
        ("GetSkill", catalog_pb2.GetSkillRequest(id="a")),
        ("GetResource", catalog_pb2.GetResourceRequest(id="a")),
        ("ListSkills", catalog_pb2.ListSkillsRequest()),
        ("ListResources", catalog_pb2.ListResourcesRequest()),
        ("ImportCatalog", iter([catalog_pb2.ImportCatalogRequest()])),
    ],
)
async def test_nothing_is_answered_before_the_view_is_ready(client, monkeypatch, catalog, method, request_message):
    monkeypatch.setattr(type(catalog.view), "ready", property(lambda self: False))
    error = await refusal(getattr(client, method)(request_message))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert retry_delay_s(error) == 1.0


async def test_the_answer_to_a_foreign_id_is_the_answer_to_an_absent_one(client, stranger):
    await client.write([Skill(id="a")], [lesson(1)])
    for ask in (
        lambda c: c.GetSkill(catalog_pb2.GetSkillRequest(id="a")),
        lambda c: c.GetResource(catalog_pb2.GetResourceRequest(id="r0001")),
    ):
        foreign = await refusal(ask(stranger))
        assert foreign.code() is grpc.StatusCode.NOT_FOUND
    absent = await refusal(client.GetSkill(catalog_pb2.GetSkillRequest(id="z")))
    foreign = await refusal(stranger.GetSkill(catalog_pb2.GetSkillRequest(id="a")))
    assert foreign.details() == absent.details().replace("'z'", "'a'")
    assert (await stranger.ListResources(catalog_pb2.ListResourcesRequest())).total_size == 0


async def test_another_tenants_skill_is_unknown_to_an_import(client, stranger):
    await client.write([Skill(id="a")])
    error = await refusal(stranger.write([Skill(id="b", prerequisites=("a",))]))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_unknown_key_is_refused(catalog):
    async with grpc.aio.insecure_channel(catalog.address) as channel:
        error = await refusal(Client(channel, "wrong").ListSkills(catalog_pb2.ListSkillsRequest()))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def pages(client, page_size):
    token, seen = "", []
    while True:
        request = catalog_pb2.ListResourcesRequest(page_size=page_size, page_token=token)
        page = await client.ListResources(request)
        seen.append([resource.id for resource in page.resources])
        token = page.next_page_token
        if not token:
            return seen


async def test_pages_come_in_the_order_of_the_ids_and_end_without_a_token(client):
    await client.write(resources=[lesson(n) for n in reversed(range(7))])
    assert await pages(client, 3) == [
        ["r0000", "r0001", "r0002"],
        ["r0003", "r0004", "r0005"],
        ["r0006"],
    ]
    assert len(await pages(client, 7)) == 1


async def test_a_page_is_100_unless_asked_otherwise(client):
    await client.write([Skill(id=f"{n:03}") for n in range(150)])
    page = await client.ListSkills(catalog_pb2.ListSkillsRequest())
    assert (len(page.skills), page.total_size) == (100, 150)
    rest = await client.ListSkills(catalog_pb2.ListSkillsRequest(page_token=page.next_page_token))
    assert [skill.id for skill in rest.skills] == [f"{n:03}" for n in range(100, 150)]
    assert rest.next_page_token == ""


async def test_a_page_token_outlives_records_that_come_in_between(client):
    await client.write(resources=[lesson(n) for n in (1, 3, 5, 7)])
    first = await client.ListResources(catalog_pb2.ListResourcesRequest(page_size=2))
    await client.write(resources=[lesson(0), lesson(4)])
    request = catalog_pb2.ListResourcesRequest(page_size=9, page_token=first.next_page_token)
    assert [r.id for r in (await client.ListResources(request)).resources] == ["r0004", "r0005", "r0007"]


async def test_a_page_holds_no_more_than_fits_into_a_reply(client):
    large = [lesson(n, description="x" * 4_000) for n in range(40)]
    await client.write(resources=large)
    seen = await pages(client, 1_000)
    assert len(seen) > 1
    assert [identifier for page in seen for identifier in page] == [resource.id for resource in large]


@pytest.mark.parametrize("method", ["ListSkills", "ListResources"])
@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("page_size", 1_001, "1001 must be from 1 to 1,000, or 0 for 100"),
        ("page_token", "!", "'!' is not a page token; pass the next_page_token of the previous page unchanged"),
        ("page_token", "AAAA", "'AAAA' is not a page token"),
        ("page_token", "Mf8", "'Mf8' is not a page token"),
    ],
)
async def test_a_page_that_cannot_be_given_is_refused_with_the_remedy(client, method, field, value, reason):
    request = getattr(catalog_pb2, f"{method}Request")(**{field: value})
    error = await refusal(getattr(client, method)(request))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = violations_of(error)
    assert violation.field == field
    assert reason in violation.reason


async def test_imports_are_counted_by_outcome_and_kind(client, catalog):
    await client.write([Skill(id="a")], [lesson(1), lesson(2)])
    await refusal(client.write([Skill(id="")]))
    catalog.log.reachable = False
    await refusal(client.write([Skill(id="b")]))

    def count(name, **labels):
        return catalog.registry.get_sample_value(name, labels)

    for outcome in ("written", "invalid", "unavailable"):
        assert count("cairn_catalog_imports_total", outcome=outcome) == 1
    assert count("cairn_catalog_records_written_total", kind="skill") == 1
    assert count("cairn_catalog_records_written_total", kind="resource") == 2
    assert count("cairn_catalog_import_seconds_count") == 1
