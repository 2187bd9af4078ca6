"""Every log line during a call has the call's id, including the lines of libraries."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, logging, sys
from pathlib import Path

import grpc
import structlog

from cairn.v1 import catalog_pb2, catalog_pb2_grpc
from services.common.telemetry import logs
from services.common.rpc.server import GrpcServer, ServerOptions
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES
from services.common.auth.tenants_file import load_tenants

log = structlog.get_logger("test")


class Servicer(catalog_pb2_grpc.CatalogServiceServicer):
    async def GetSkill(self, request, context):
        log.info("ours")
        logging.getLogger("library").warning("theirs")
        raise ZeroDivisionError


async def main(tenants):
    api_key = create_api_key(tenants, "riverbend", "test", ALL_SCOPES)
    server = GrpcServer(ServerOptions("127.0.0.1:0", drain_s=0), load_tenants(tenants))
    server.register(
        lambda inner: catalog_pb2_grpc.add_CatalogServiceServicer_to_server(Servicer(), inner),
        "cairn.v1.CatalogService",
    )
    address = await server.start()
    log.info("before")
    async with grpc.aio.insecure_channel(address) as channel:
        metadata = (("authorization", f"Bearer {api_key}"), ("x-request-id", "call-7"))
        try:
            await catalog_pb2_grpc.CatalogServiceStub(channel).GetSkill(
                catalog_pb2.GetSkillRequest(), metadata=metadata, timeout=20
            )
        except grpc.aio.AioRpcError as error:
            assert dict(error.trailing_metadata())["x-request-id"] == "call-7", error
    await server.stop()
    log.info("after")


logs.configure("info", "json", service="test")
asyncio.run(main(Path(sys.argv[1])))
"""


def test_the_lines_of_a_call_carry_its_id_and_others_do_not(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "tenants.yaml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stderr.splitlines() if line.startswith("{")]
    ids = {line["event"].partition(" ")[0]: line.get("request_id") for line in lines}
    assert ids == {"before": None, "ours": "call-7", "theirs": "call-7", "a": "call-7", "after": None}
    assert "riverbend_" not in ran.stderr
