"""The catalog process, as an operator runs it: started, filled from the command line, restarted, stopped."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import grpc
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from cairn.v1 import catalog_pb2, catalog_pb2_grpc
from deploy.processes import free_port
from services.catalog.cli.catalog import app
from services.catalog.formats.jsonl import read_resources, read_skills
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES

SAMPLE = Path(__file__).parents[2] / "deploy" / "local" / "sample"
READY_WITHIN_S = 20


def environment(connection, tenants, **settings):
    return os.environ | {
        "CAIRN_KAFKA": connection.bootstrap_servers,
        "CAIRN_KAFKA_FETCH_WAIT_MS": str(connection.fetch_wait_ms),
        "CAIRN_TENANTS": str(tenants),
        "CAIRN_DRAIN_S": "2",
        **settings,
    }


class Process:
    """A running catalog."""

    def __init__(self, popen, address, api_key):
        self.popen, self.address = popen, address
        self._arguments = ["--target", address]
        self._environment = {"CAIRN_API_KEY": api_key, "COLUMNS": "160"}

    def cli(self, *arguments):
        return CliRunner(env=self._environment).invoke(app, [*arguments, *self._arguments])

    def stop(self):
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(timeout=10)


@contextmanager
def running(connection, folder, tenant, **settings):
    """A catalog service with a separate address, ready to serve."""
    tenants, address_file = folder / "tenants.yaml", folder / f"address-{time.monotonic_ns()}"
    api_key = create_api_key(tenants, tenant, "test", ALL_SCOPES)
    settings = environment(connection, tenants, CAIRN_ADDRESS_FILE=str(address_file), **settings)
    with (folder / "catalog.log").open("ab") as log:
        popen = subprocess.Popen([sys.executable, "-m", "services.catalog"], env=settings, stderr=log)
    try:
        give_up_at = time.monotonic() + READY_WITHIN_S
        while not address_file.exists() or not serving(address_file.read_text()):
            assert popen.poll() is None, (folder / "catalog.log").read_text()
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        yield Process(popen, address_file.read_text(), api_key)
    finally:
        popen.kill()
        popen.wait()


def serving(address):
    with grpc.insecure_channel(address) as channel:
        status = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service="cairn.v1.CatalogService"), timeout=5
        )
    return status.status == health_pb2.HealthCheckResponse.SERVING


@pytest.fixture(scope="module")
def catalog(kafka_broker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalog")
    with running(kafka_broker, folder, "sampledistrict") as process:
        yield process


def import_sample(process):
    files = ["--skills", str(SAMPLE / "skills.jsonl"), "--resources", str(SAMPLE / "resources.jsonl")]
    return process.cli("import", *files)


def test_the_sample_is_imported_listed_and_printed_from_the_command_line(catalog):
    result = import_sample(catalog)
    assert result.exit_code == 0, result.stderr
    skills, resources = read_skills(SAMPLE / "skills.jsonl"), read_resources(SAMPLE / "resources.jsonl")
    written = f"skills: {len(skills.records)} written, 0 unchanged; resources: {len(resources.records)} written"
    assert result.stdout.startswith(written)

    again = import_sample(catalog)
    assert again.stdout.startswith(f"skills: 0 written, {len(skills.records)} unchanged; resources: 0 written")

    got = catalog.cli("get", "skill", "6.RP.A.3")
    assert orjson.loads(got.stdout)["prerequisites"] == ["6.RP.A.2", "5.NBT.B.7"]
    table = catalog.cli("list", "resource", "--limit", "5").stdout.splitlines()
    assert table[0].split() == ["id", "title", "kind", "grades"]
    assert len(table) == 6


def test_the_json_listing_can_be_imported_again(catalog, tmp_path):
    assert import_sample(catalog).exit_code == 0
    export = tmp_path / "resources.jsonl"
    export.write_text(catalog.cli("list", "resource", "--json").stdout)
    original = {r.id: r for r in read_resources(SAMPLE / "resources.jsonl").records}
    assert {r.id: r for r in read_resources(export).records} == original
    assert "0 written" in catalog.cli("import", "--resources", str(export)).stdout.partition("resources:")[2]


def test_problems_found_by_the_service_are_named_by_file_and_line(catalog, tmp_path):
    file = tmp_path / "more.jsonl"
    file.write_text(
        '{"id": "x", "title": "X", "kind": "game"}\n\n'
        '{"id": "y", "title": "Y", "kind": "game", "teaches": [{"skill": "9.ZZ", "weight": 1}]}\n'
    )
    result = catalog.cli("import", "--resources", str(file))
    assert result.exit_code == 2
    (row,) = [line for line in result.stderr.splitlines() if "9.ZZ" in line]
    assert row.split()[:2] == [f"{file}:3", "teaches[0].skill"]
    absent = catalog.cli("get", "resource", "x")
    assert (absent.exit_code, absent.stderr.strip()) == (
        1,
        "NOT_FOUND: there is no resource 'x'; ListResources lists all",
    )


def test_a_wrong_key_is_refused_with_an_error_message(catalog, tmp_path):
    key_file = tmp_path / "key"
    key_file.write_text("wrong\n")
    result = catalog.cli("list", "skill", "--api-key-file", str(key_file))
    assert result.exit_code == 1
    assert result.stderr.startswith("UNAUTHENTICATED: the API key is not known")


def test_a_restarted_service_has_the_same_catalog_and_another_one_follows_live(kafka_broker, tmp_path):
    file = tmp_path / "skills.jsonl"
    file.write_text('{"id": "a"}\n{"id": "b", "prerequisites": ["a"]}\n')
    with running(kafka_broker, tmp_path, "restarting") as first:
        assert first.cli("import", "--skills", str(file)).exit_code == 0
        assert first.stop() == 0
    with (
        running(kafka_broker, tmp_path, "restarting") as second,
        running(kafka_broker, tmp_path, "restarting") as third,
    ):
        assert second.cli("list", "skill", "--json").stdout == '{"id":"a"}\n{"id":"b","prerequisites":["a"]}\n'
        file.write_text('{"id": "c"}\n')
        assert second.cli("import", "--skills", str(file)).exit_code == 0
        give_up_at = time.monotonic() + 5
        while third.cli("get", "skill", "c").exit_code != 0:
            assert time.monotonic() < give_up_at


def test_metrics_show_the_contents_of_the_view(kafka_broker, tmp_path):
    port = free_port()
    file = tmp_path / "skills.jsonl"
    file.write_text('{"id": "a"}\n')
    with running(kafka_broker, tmp_path, "measured", CAIRN_METRICS_PORT=str(port)) as process:
        assert process.cli("import", "--skills", str(file)).exit_code == 0
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
            metrics = dict(line.rsplit(" ", 1) for line in reply.read().decode().splitlines() if line[0] != "#")
    assert float(metrics["cairn_catalog_skills"]) >= 1
    assert float(metrics["cairn_catalog_broker_reachable"]) == 1
    assert float(metrics['cairn_catalog_imports_total{outcome="written"}']) == 1


@pytest.mark.slow
def test_a_broker_that_goes_away_makes_imports_unavailable_while_reads_continue(fresh_kafka_broker, tmp_path):
    file = tmp_path / "skills.jsonl"
    file.write_text('{"id": "a"}\n')
    with running(fresh_kafka_broker.connection, tmp_path, "lonely") as process:
        assert process.cli("import", "--skills", str(file)).exit_code == 0
        fresh_kafka_broker.stop()
        file.write_text('{"id": "b"}\n')
        refused = process.cli("import", "--skills", str(file))
        assert refused.exit_code == 1
        assert refused.stderr.startswith("UNAVAILABLE: the catalog topics did not take the records")
        assert process.cli("get", "skill", "a").exit_code == 0
        assert process.stop() == 0


def test_17_000_resources_are_imported_in_seconds_in_chunks_below_a_megabyte(catalog, tmp_path):
    file = tmp_path / "many.jsonl"
    skill = '{"id": "many"}\n'
    (tmp_path / "skill.jsonl").write_text(skill)

    def line(number):
        tags = [{"skill": "many", "weight": 1}]
        columns = {"id": f"m{number:05}", "title": f"Problem {number}", "kind": "practice", "teaches": tags}
        return orjson.dumps(columns | {"description": "words " * 20}).decode()

    file.write_text("\n".join(map(line, range(17_000))))
    start_s = time.perf_counter()
    result = catalog.cli("import", "--skills", str(tmp_path / "skill.jsonl"), "--resources", str(file))
    took_s = time.perf_counter() - start_s
    assert result.exit_code == 0, result.stderr
    assert "resources: 17,000 written" in result.stdout
    print(f"imported 17,000 resources in {took_s:.1f} s")
    assert took_s < 20


def failed_start(**settings):
    return subprocess.run(
        check=False,
        args=[sys.executable, "-m", "services.catalog"],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_failed_start_ends_with_an_error_message_and_the_remedy(kafka_broker, tmp_path):
    create_api_key(tmp_path / "tenants.yaml", "any", "test", ALL_SCOPES)
    good = environment(kafka_broker, tmp_path / "tenants.yaml")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        for change, code, sentence in (
            ({"CAIRN_LISTEN": f"127.0.0.1:{port}"}, 1, f"cannot listen on 127.0.0.1:{port}"),
            ({"CAIRN_LISTEN": "0.0.0.0:0"}, 1, "set CAIRN_INSECURE=true to accept it"),
            ({"CAIRN_TENANTS": "absent.yaml"}, 1, "there is no tenants file at absent.yaml; create one with"),
            ({"CAIRN_KAFKA": "127.0.0.1:1"}, 1, "Kafka at 127.0.0.1:1 cannot be reached"),
            ({"CAIRN_DRAIN_S": "soon"}, 2, "CAIRN_DRAIN_S='soon'"),
        ):
            result = failed_start(**(good | change))
            assert result.returncode == code, result.stderr
            # A thread of the client may still log after it.
            assert sentence in result.stderr


def test_a_stop_lets_a_running_import_finish(kafka_broker, tmp_path):
    with running(kafka_broker, tmp_path, "draining", CAIRN_DRAIN_S="20") as process:
        with grpc.insecure_channel(process.address) as channel:
            metadata = (("authorization", f"Bearer {process._environment['CAIRN_API_KEY']}"),)
            stopped = []

            def chunks():
                yield catalog_pb2.ImportCatalogRequest(skills=[catalog_pb2.Skill(id="a")])
                process.popen.send_signal(signal.SIGTERM)
                # The rest is sent once the stop has begun: new calls are refused.
                while serving_or_none(process.address):
                    time.sleep(0.02)
                stopped.append(True)
                yield catalog_pb2.ImportCatalogRequest(skills=[catalog_pb2.Skill(id="b")])

            reply = catalog_pb2_grpc.CatalogServiceStub(channel).ImportCatalog(chunks(), metadata=metadata, timeout=20)
        assert stopped
        assert reply.skills_written == 2
        assert process.popen.wait(timeout=10) == 0


def serving_or_none(address):
    try:
        return serving(address)
    except grpc.RpcError:
        return None
