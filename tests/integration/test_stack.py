"""The laptop stack starts everything, waits until it is ready, and reliably stops it. The services are fakes."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deploy.local import supervisor
from deploy.local.broker import Broker
from deploy.local.redis import RedisServer
from deploy.local.serving import is_serving
from deploy.local.stack import Component, Service, Stack, StackOptions
from deploy.processes import ComponentFailedError, PortBusyError, StackError, free_port
from services.common.auth.public_tenant import PUBLIC_API_KEY
from services.common.auth.tenants_file import load_tenants

ROOT = Path(__file__).parents[2]
FAKE = ROOT / "tests" / "fake_service.py"


def fake(name, next_item="serve"):
    return Service(name, (sys.executable, str(FAKE), next_item), f"CAIRN_TARGET_{name.upper()}")


@pytest.fixture(autouse=True)
def _modules_are_found(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'protos'}")


@pytest.fixture
def ready():
    return []


@pytest.fixture
def start(tmp_path, ready):
    stacks = []

    def begin(*services, **options):
        chosen = StackOptions(tmp_path / "stack", services=services or (fake("ingest"),), **options)
        stacks.append(Stack(chosen, ready.append))
        return stacks[-1]

    yield begin
    for stack in stacks:
        stack.stop()


def pids(components: list[Component]) -> list[int]:
    return [component.pid for component in components if component.pid]


def alive(process_ids):
    return [
        pid for pid in process_ids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    ]


def test_every_component_is_reported_when_ready_and_none_is_left_running(start, ready):
    with start(fake("ingest"), fake("server")) as stack:
        assert [component.name for component in ready] == ["broker", "redis", "topics", "tenant", "ingest", "server"]
        assert is_serving(stack.address("ingest"))
        assert load_tenants(stack.directory / "tenants.yaml").credential(stack.api_key).tenant.name == stack.tenant
        assert len(alive(pids(ready))) == 4

    assert alive(pids(ready)) == []


def test_a_public_stack_has_the_tenant_of_the_demo(start, ready):
    with start(public=True) as stack:
        assert (stack.tenant, stack.environment["CAIRN_TENANT"]) == ("demo", "demo")
        assert stack.access.api_key == PUBLIC_API_KEY
        assert load_tenants(stack.directory / "tenants.yaml").credential(PUBLIC_API_KEY).tenant.name == "demo"
    assert [component.address for component in ready if component.name == "tenant"] == [
        "demo, with a public API key, for loopback only"
    ]


def test_the_environment_has_everything_that_clients_need(start):
    with start() as stack:
        assert stack.environment["CAIRN_TARGET_INGEST"] == stack.address("ingest")
        assert stack.environment["CAIRN_API_KEY"] == stack.api_key
        assert stack.environment["CAIRN_KAFKA_FETCH_WAIT_MS"] == "10"


def test_a_service_that_fails_at_startup_is_named_with_its_last_log_lines_and_everything_stops(start, ready):
    with pytest.raises(ComponentFailedError) as failed, start(fake("ingest"), fake("worker", "fail")):
        pass

    assert "worker ended with exit code 1" in str(failed.value)
    assert "the tenants file is missing" in str(failed.value)
    assert alive(pids(ready)) == []


def test_a_service_that_does_not_become_ready_is_named_and_everything_stops(start, ready, monkeypatch):
    monkeypatch.setattr("deploy.local.stack._SERVICE_DEADLINE_S", 0.5)

    with (
        pytest.raises(ComponentFailedError, match=r"ingest was not ready within 0\.5 s"),
        start(fake("ingest", "hang")),
    ):
        pass

    assert alive(pids(ready)) == []


def test_a_component_that_dies_later_is_named(start, ready):
    with start() as stack:
        os.kill(ready[0].pid, signal.SIGKILL)

        with pytest.raises(ComponentFailedError, match="broker was ended by SIGKILL"):
            stack.keep_running(ready.append)


def test_a_service_that_dies_is_started_again_at_its_address(start, ready):
    with start() as stack:
        address = stack.address("ingest")
        os.kill(ready[-1].pid, signal.SIGKILL)

        class RestartedError(Exception):
            """Ends the wait."""

        def restarted(component):
            ready.append(component)
            raise RestartedError

        with pytest.raises(RestartedError):
            stack.keep_running(restarted)
        assert (ready[-1].name, ready[-1].address) == ("ingest", address)
        until(lambda: is_serving(address))
    assert alive(pids(ready)) == []


def test_a_service_that_exits_again_and_again_is_given_up(start, ready, monkeypatch):
    monkeypatch.setattr("deploy.local.stack._CHECK_EVERY_S", 0.01)
    with start() as stack:
        os.kill(ready[-1].pid, signal.SIGKILL)

        def killed_again(component):
            ready.append(component)
            os.kill(component.pid, signal.SIGKILL)

        with pytest.raises(ComponentFailedError, match="ingest was ended by SIGKILL"):
            stack.keep_running(killed_again)
    assert [component.name for component in ready].count("ingest") == 1 + 5


def until(condition, deadline_s=20.0):
    give_up_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)


def test_an_error_inside_the_block_stops_everything(start, ready):
    with pytest.raises(ZeroDivisionError), start():
        raise ZeroDivisionError

    assert len(pids(ready)) == 3
    assert alive(pids(ready)) == []


def test_a_service_that_ignores_sigterm_is_killed(start, ready):
    with start(fake("ingest", "ignore")):
        pass

    assert alive(pids(ready)) == []


def test_children_of_a_service_are_stopped_with_it(start):
    with start(fake("ingest", "child")) as stack:
        grandchild = int((stack.directory / "grandchild.pid").read_text())
        assert alive([grandchild])

    assert alive([grandchild]) == []


def test_a_requested_port_in_use_is_an_error_with_a_remedy(start, ready):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(PortBusyError) as refused, start(ports={"ingest": port}):
            pass

    assert f"port {port}, asked for with --ingest-port for ingest, cannot be used" in str(refused.value)
    assert f"process {os.getpid()}" in str(refused.value)
    assert refused.value.exit_code == 2
    assert ready == []


def test_a_requested_port_is_used(start):
    port = free_port()

    with start(ports={"ingest": port}) as stack:
        assert stack.address("ingest") == f"127.0.0.1:{port}"


def test_a_free_port_stays_free_until_its_process_starts():
    ports = [free_port() for _ in range(20)]

    assert len(set(ports)) == 20
    for _ in range(50):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            assert other.getsockname()[1] not in range(min(ports), max(ports) + 1)


def test_concurrent_processes_find_different_free_ports():
    look = "from deploy.processes import free_port; print(*(free_port() for _ in range(20)))"
    found = [subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, cwd=ROOT) for _ in range(3)]

    ports = [port for one in found for port in one.stdout.split()]
    assert len(set(ports)) == 60


def test_a_port_with_a_listener_is_not_free():
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken = free_port() + 1
        other.bind(("127.0.0.1", taken))
        other.listen()

        assert free_port() != taken


def test_a_running_kafka_and_redis_are_used_and_left_running(
    start, ready, fresh_kafka_broker: Broker, fresh_redis_server: RedisServer
):
    kafka = fresh_kafka_broker.connection

    with start(kafka=kafka.bootstrap_servers, kafka_fetch_wait_ms=10, redis=fresh_redis_server.url) as stack:
        assert stack.kafka == kafka
        assert stack.redis == fresh_redis_server.url
        assert len(pids(ready)) == 1

    assert fresh_kafka_broker.child.running
    assert fresh_redis_server.child.running


# kafka-python leaves a socket open when it cannot connect, which causes a ResourceWarning when it is collected.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_an_unreachable_kafka_is_an_error_with_a_remedy(start, monkeypatch):
    monkeypatch.setattr("services.common.kafka.connection.BOOTSTRAP_TIMEOUT_MS", 300)

    with pytest.raises(StackError, match="unset CAIRN_KAFKA"), start(kafka=f"127.0.0.1:{free_port()}"):
        pass


def test_a_missing_redis_is_an_error_with_a_remedy(start, ready, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)

    with pytest.raises(StackError, match=r"no Redis 6\.2 or later .* CAIRN_REDIS"), start():
        pass

    assert alive(pids(ready)) == []


def test_two_stacks_do_not_share_a_directory(start):
    with start(), pytest.raises(StackError, match="another stack runs in"), start():
        pass


def test_a_new_broker_starts_without_the_bundles_and_tenants_of_an_old_one(start, tmp_path):
    with start() as stack:
        first = stack.api_key
        (stack.directory / "bundles").mkdir()

    with start() as stack:
        assert not (stack.directory / "bundles").exists()
        assert load_tenants(stack.directory / "tenants.yaml").credential(first) is None


@pytest.fixture
def supervised(tmp_path):
    """A supervisor whose stack is ready, and the components of that stack."""
    options = StackOptions(tmp_path / "up", services=(fake("ingest"),))
    command = [sys.executable, "-m", "deploy.local", "supervise", supervisor.OPTIONS.dump_json(options).decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        # Standard output ends once everything is ready.
        yield process, [supervisor.COMPONENT.validate_json(line) for line in process.stdout]
        process.terminate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything(supervised, tmp_path, number):
    process, components = supervised
    assert len(alive(pids(components))) == 3

    process.send_signal(number)

    assert process.wait(10) == 128 + number
    assert alive(pids(components)) == []
    assert not (tmp_path / "env").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
def test_nothing_is_left_when_the_parent_is_killed(supervised):
    process, components = supervised
    children = [psutil.Process(pid) for pid in pids(components)]

    process.kill()
    process.wait(10)

    psutil.wait_procs(children, timeout=10)
    assert alive(pids(components)) == []


def test_the_supervisor_names_the_failed_component_and_stops_the_others(supervised):
    process, components = supervised

    os.kill(components[1].pid, signal.SIGKILL)

    assert process.wait(10) == 1
    assert "redis was ended by SIGKILL" in process.stderr.read()
    assert alive(pids(components)) == []


def test_a_service_that_dies_in_a_stack_that_up_started_is_started_again_and_nothing_else_stops(tmp_path, ready):
    options = StackOptions(tmp_path / "up", services=(fake("ingest"),))
    supervisor.up(options, ready.append)
    try:
        access = supervisor.access(options.directory)
        psutil.Process(ready[-1].pid).kill()
        until(lambda: not is_serving(access.ingest))
        access.check_running()
        until(lambda: is_serving(access.ingest))
        assert set(supervisor.down(options.directory)) == {"supervisor", "broker", "redis", "ingest"}
    finally:
        supervisor.down(options.directory)
    assert "ingest had ended and was started again" in (options.directory / "supervisor.out").read_text()


def test_what_a_stack_started_itself_is_not_taken_for_a_broker_or_redis_of_the_user(tmp_path, ready, monkeypatch):
    options = StackOptions(tmp_path / "up", services=(fake("ingest"),))
    supervisor.up(options, ready.append)
    lines = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    supervisor.down(options.directory)
    for name, value in lines.items():
        monkeypatch.setenv(name, value.strip("'"))
    assert supervisor.outside("KAFKA", os.environ["CAIRN_KAFKA"]) == ""
    assert supervisor.outside("REDIS", os.environ["CAIRN_REDIS"]) == ""
    assert supervisor.outside("KAFKA", "kafka.example:9092") == "kafka.example:9092"


def test_a_broker_of_the_user_stays_one_in_a_shell_with_the_environment(
    tmp_path, ready, monkeypatch, fresh_kafka_broker: Broker
):
    servers = fresh_kafka_broker.connection.bootstrap_servers
    options = StackOptions(tmp_path / "up", kafka=servers, kafka_fetch_wait_ms=10, services=(fake("ingest"),))
    supervisor.up(options, ready.append)
    text = (tmp_path / "env").read_text()
    supervisor.down(options.directory)
    assert f"CAIRN_KAFKA={servers}" in text
    assert "CAIRN_OWN_KAFKA" not in text
    assert "CAIRN_OWN_REDIS" in text


def test_down_stops_the_stack_that_up_started(tmp_path, ready):
    options = StackOptions(tmp_path / "up", services=(fake("ingest"),))

    supervisor.up(options, ready.append)

    environment = tmp_path / "env"
    assert stat.S_IMODE(environment.stat().st_mode) == 0o600
    script = f"set -a; . {environment}; set +a; printenv CAIRN_TARGET_INGEST"
    shown = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout.strip()
    assert is_serving(shown)
    with pytest.raises(StackError, match="already running"):
        supervisor.up(options, ready.append)

    access = supervisor.access(options.directory)
    assert (access.ingest, access.directory) == (shown, options.directory)
    access.check_running()

    assert set(supervisor.down(options.directory)) == {"supervisor", "broker", "redis", "ingest"}
    assert alive(pids(ready)) == []
    assert not environment.exists()
    assert supervisor.down(options.directory) == []
    with pytest.raises(ComponentFailedError, match="is stopped"):
        access.check_running()
    with pytest.raises(StackError, match="no stack runs in"):
        supervisor.access(options.directory)


def test_a_component_that_dies_in_a_stack_that_up_started_is_named_to_its_clients(tmp_path, ready):
    options = StackOptions(tmp_path / "up", services=(fake("ingest"),))
    supervisor.up(options, ready.append)
    access = supervisor.access(options.directory)
    processes = [psutil.Process(pid) for pid in pids(ready)]

    processes[1].kill()
    psutil.wait_procs(processes, timeout=10)

    with pytest.raises(ComponentFailedError, match="redis was ended by SIGKILL"):
        access.check_running()


def test_a_failed_up_reports_the_reason_and_leaves_nothing_running(tmp_path, ready):
    options = StackOptions(tmp_path / "up", services=(fake("ingest", "fail"),))

    with pytest.raises(StackError, match="ingest ended with exit code 1"):
        supervisor.up(options, ready.append)

    assert alive(pids(ready)) == []
    assert supervisor.down(options.directory) == []
