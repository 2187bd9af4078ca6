"""Every image runs as in Kubernetes: without root, with a root file system that is read-only, and stops on SIGTERM."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from deploy.image.build import ROLES, Engine, project_version
from deploy.processes import LOOPBACK, BadInputError, free_port

ROOT = Path(__file__).parents[2]
_USER = 10001
# Numerical code is compiled in the container, perhaps on a busy machine.
_START_S = 600.0
_STOP_S = 20.0
_LIMITS = {"ingest": 450, "catalog": 450, "server": 450, "worker": 450, "train": 900}

# The command of each process, and the image that it is in.
_PROCESSES = {
    "ingest": ("ingest", ()),
    "catalog": ("catalog", ()),
    "server": ("server", ()),
    "lag": ("server", ("python", "-m", "services.recommender", "lag")),
    "worker": ("worker", ()),
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    try:
        found = Engine()
    except BadInputError as error:
        pytest.skip(str(error))
    missing = [role for role in ROLES if not found.has(image(role))]
    if missing:
        pytest.skip(f"no image of {', '.join(missing)}: run make image")
    return found


def image(role: str) -> str:
    return f"cairn-{role}:{project_version(ROOT)}"


def confined(*further: str) -> list[str]:
    """The options of a container that may write to /tmp and nowhere else, and has no rights of root."""
    return [
        *("--read-only", "--tmpfs", "/tmp:size=512m,mode=1777", "--cap-drop", "all"),
        *("--security-opt", "no-new-privileges", *further),
    ]


def run(engine: Engine, role: str, *command: str, options: Sequence[str] = ("--network", "none")) -> str:
    return engine.run("run", "--rm", *confined(*options), image(role), *command)


@contextmanager
def running(engine: Engine, process: str, settings: dict[str, str], *options: str) -> Iterator[str]:
    """Start a process in its image, and remove the container at the end. Yields the container's name."""
    role, command = _PROCESSES[process]
    name = f"cairn-test-{process}-{uuid.uuid4().hex[:8]}"
    variables = [part for key, value in settings.items() for part in ("--env", f"{key}={value}")]
    options = tuple(confined("--network", "host", *variables, *options))
    engine.run("run", "--detach", "--name", name, *options, image(role), *command)
    try:
        yield name
    finally:
        engine.run("rm", "--force", name)


def logs(engine: Engine, name: str) -> str:
    command = [engine.program, "logs", name]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout


def state(engine: Engine, name: str) -> dict[str, object]:
    (found,) = json.loads(engine.run("container", "inspect", name))
    return found["State"]


def wait(condition: Callable[[], bool], engine: Engine, name: str, what: str) -> None:
    """Return once the condition holds; fail when the container ends before, or after `_START_S`."""
    deadline = time.monotonic() + _START_S
    while not condition():
        assert state(engine, name)["Running"], f"{name} ended before {what}: {logs(engine, name)}"
        assert time.monotonic() < deadline, f"{name} is not {what} after {_START_S:.0f} s: {logs(engine, name)}"
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.parametrize("role", ROLES)
def test_an_image_runs_without_root_and_writes_only_to_tmp(engine, role):
    program = (
        "import os, pathlib\n"
        "refused = []\n"
        "for folder in ('/', '/opt/cairn', '/usr', '/var/lib/cairn/bundles', '/tmp'):\n"
        "    try:\n"
        "        pathlib.Path(folder, 'written').touch()\n"
        "    except OSError:\n"
        "        refused.append(folder)\n"
        "print(os.getuid(), os.getgid(), *refused)\n"
    )
    said = run(engine, role, "python", "-c", program)
    assert said == f"{_USER} {_USER} / /opt/cairn /usr /var/lib/cairn/bundles"


@pytest.mark.parametrize("role", ROLES)
def test_the_command_in_an_image_is_of_the_projects_version(engine, role):
    assert run(engine, role, "cairn", "--version") == f"cairn {project_version(ROOT)}"


@pytest.mark.parametrize("role", ROLES)
def test_an_image_holds_neither_pip_nor_a_compiler_nor_tests(engine, role):
    program = (
        "import importlib.util, pathlib, shutil, sysconfig\n"
        "libraries = pathlib.Path(sysconfig.get_path('purelib'))\n"
        "print([name for name in ('pip', 'setuptools', 'ensurepip') if importlib.util.find_spec(name)],\n"
        "      [name for name in ('pip', 'pip3', 'gcc', 'cc', 'apt-get') if shutil.which(name)],\n"
        "      [str(each) for each in libraries.rglob('tests')],\n"
        "      (libraries / 'services/cli/__pycache__').is_dir())\n"
    )
    assert run(engine, role, "python", "-c", program) == "[] [] [] True"


@pytest.mark.parametrize("role", ROLES)
def test_an_image_says_what_it_was_built_from_and_is_small_enough(engine, role):
    (found,) = json.loads(engine.run("image", "inspect", image(role)))
    labels = found["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == project_version(ROOT)
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.revision"]
    assert found["Config"]["User"] == f"{_USER}:{_USER}"
    assert engine.size_bytes(image(role)) <= _LIMITS[role] * 1_000_000


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tenants") / "tenants.yaml"
    cairn = Path(sys.executable).with_name("cairn")
    subprocess.run([cairn, "keys", "create", "--tenant", "riverbend", "--tenants", file], check=True)
    file.chmod(0o440)
    return file


@pytest.mark.timeout(900)
def test_every_process_becomes_ready_in_its_image_and_ends_on_sigterm(engine, kafka_broker, redis_server, tenants):
    settings = {
        "CAIRN_KAFKA": kafka_broker.bootstrap_servers,
        "CAIRN_KAFKA_FETCH_WAIT_MS": str(kafka_broker.fetch_wait_ms),
        "CAIRN_REDIS": redis_server,
        "CAIRN_TENANTS": "/run/secrets/tenants",
        "CAIRN_BUNDLES": "/tmp/bundles",
    }
    mount = ("--volume", f"{tenants}:/run/secrets/tenants:ro", "--group-add", str(tenants.stat().st_gid))
    with ExitStack() as containers:
        started = []
        for process in _PROCESSES:
            port = free_port()
            own = settings | {"CAIRN_METRICS_PORT": str(port)}
            name = containers.enter_context(running(engine, process, own, *mount))
            started.append((name, f"http://{LOOPBACK}:{port}/readyz"))
        for name, url in started:
            wait(partial(answers, url), engine, name, "ready")
        for name, _ in started:
            asked_s = time.monotonic()
            engine.run("kill", "--signal", "TERM", name)
            assert engine.run("wait", name) == "0", logs(engine, name)
            assert time.monotonic() - asked_s < _STOP_S, name
