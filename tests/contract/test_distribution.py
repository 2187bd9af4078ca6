"""What is installed: two wheels that work without the checkout, and a lock that names every file by its hash."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import google.protobuf
import pytest

ROOT = Path(__file__).parents[2]
_DEPENDENCIES = Path(google.protobuf.__file__).parents[2]


def run(*command: object, cwd: Path, timeout_s: float = 100.0) -> subprocess.CompletedProcess[str]:
    """A command that finds no checkout: not in its folder, and not in PYTHONPATH."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def project(folder: Path = ROOT):
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    target = tmp_path_factory.mktemp("wheels")
    for folder in (ROOT / "protos", ROOT):
        built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target, cwd=folder)
        assert built.returncode == 0, built.stderr
    return {wheel.name.partition("-")[0]: wheel for wheel in target.glob("*.whl")}


@pytest.fixture(scope="module")
def environment(wheels, tmp_path_factory):
    """A new virtual environment with both wheels; their dependencies are those of this process."""
    folder = tmp_path_factory.mktemp("environment")
    made = run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    assert made.returncode == 0, made.stderr
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    installed = run(*pip, "install", "--no-deps", "--no-index", *wheels.values(), cwd=folder)
    assert installed.returncode == 0, installed.stderr
    (site_packages,) = folder.glob("lib/python*/site-packages")
    # A folder that a .pth file names comes last, and .pth files in it do nothing: no checkout gets on the path.
    (site_packages / "dependencies.pth").write_text(f"{_DEPENDENCIES}\n")
    return folder


def test_the_wheel_of_cairn_holds_the_services_the_topics_the_known_sources_and_frameworks_and_nothing_else(wheels):
    names = [name for name in zipfile.ZipFile(wheels["cairn"]).namelist() if ".dist-info/" not in name]
    assert {name.partition("/")[0] for name in names} == {"services"}
    data = {name for name in names if not name.endswith((".py", "/py.typed"))}
    folders = (ROOT / "services/ingest/sources", ROOT / "services/catalog/formats/frameworks/shipped")
    known = {str(path.relative_to(ROOT)) for folder in folders for path in folder.rglob("*") if path.is_file()}
    assert data == {"services/common/kafka/topics.yaml", *known}
    assert "services/cli/__init__.py" in names


def test_the_wheel_of_the_client_holds_the_contracts_and_the_client_and_nothing_else(wheels):
    names = [name for name in zipfile.ZipFile(wheels["cairn_client"]).namelist() if ".dist-info/" not in name]
    assert {name.rpartition("/")[0] for name in names} == {"cairn", "cairn/v1", "cairn/client"}
    for name in ("v1/events.proto", "v1/events_pb2.py", "v1/events_pb2.pyi", "client/__init__.py", "py.typed"):
        assert f"cairn/{name}" in names


def test_the_topics_in_the_wheel_are_those_of_the_repository(wheels):
    packaged = zipfile.ZipFile(wheels["cairn"]).read("services/common/kafka/topics.yaml")
    assert packaged == (ROOT / "deploy" / "topics.yaml").read_bytes()


def test_both_distributions_have_one_version_and_one_licence():
    cairn, client = project(), project(ROOT / "protos")
    assert cairn["version"] == client["version"]
    assert f"cairn-client=={client['version']}" in cairn["dependencies"]
    assert (ROOT / "LICENSE").read_bytes() == (ROOT / "protos" / "LICENSE").read_bytes()


def test_the_client_needs_grpcio_and_what_the_generated_code_imports_and_nothing_else():
    google_apis, grpcio, protobuf = project(ROOT / "protos")["dependencies"]
    assert google_apis.startswith("googleapis-common-protos")
    assert grpcio.startswith("grpcio>=")
    generated = re.search(
        r"Protobuf Python Version: ([\d.]+)", (ROOT / "protos/cairn/v1/events_pb2.py").read_text()
    ).group(1)
    # Generated code works from the protobuf it was made with to the end of the next major version.
    assert protobuf == f"protobuf>={generated},<{int(generated.partition('.')[0]) + 2}"
    assert protobuf in project()["dependencies"]


def test_the_client_wheel_works_where_only_grpcio_and_protobuf_are_installed(wheels, tmp_path):
    zipfile.ZipFile(wheels["cairn_client"]).extractall(tmp_path)
    program = f"""
import sys
class OnlyItsDependencies:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        # typing_extensions is a dependency of grpcio.
        if top not in sys.stdlib_module_names and top not in ("cairn", "grpc", "google", "typing_extensions"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, OnlyItsDependencies())
sys.path.insert(0, {str(tmp_path)!r})
import cairn.client
from cairn.v1 import catalog_pb2_grpc, ingest_pb2_grpc, recommender_pb2_grpc
from cairn.client import CHANNEL_OPTIONS, LearnerUpdates
print(cairn.client.__file__)
"""
    done = run(sys.executable, "-I", "-c", program, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "cairn/client/__init__.py")), done.stderr


def test_the_command_works_from_the_wheels_in_an_empty_environment_and_an_empty_folder(environment, tmp_path):
    cairn = environment / "bin" / "cairn"
    assert run(cairn, "--version", cwd=tmp_path).stdout == f"cairn {project()['version']}\n"
    help_of_all = run(cairn, "--help", cwd=tmp_path)
    assert help_of_all.returncode == 0, help_of_all.stderr
    for command in ("ingest", "catalog", "train", "replay", "epoch"):
        assert command in help_of_all.stdout
    help_of_one = run(cairn, "topics", "create", "--help", cwd=tmp_path)
    assert help_of_one.returncode == 0, help_of_one.stderr
    assert "--replication-factor" in help_of_one.stdout


def test_outside_a_checkout_the_topics_are_those_in_the_wheel(environment, tmp_path):
    program = (
        "import cairn.client, services\n"
        "from services.common.kafka.topics import load_declarations\n"
        "print(services.__file__, cairn.client.__file__)\n"
        "print(*load_declarations())\n"
    )
    done = run(environment / "bin" / "python", "-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files, topics = done.stdout.splitlines()
    assert all(Path(file).is_relative_to(environment) for file in files.split())
    assert "cairn.learner-events" in topics.split()


def test_every_requirement_is_pinned_with_hashes_and_no_index_is_named():
    lock = (ROOT / "requirements.lock").read_text()
    requirements = re.split(r"\n(?=[a-z0-9])", lock)[1:]
    assert len(requirements) > 50
    for requirement in requirements:
        assert re.match(r"[\w.-]+==[\w.]+", requirement), requirement[:80]
        assert "--hash=sha256:" in requirement, requirement[:80]
    assert "://" not in lock
    assert "index-url" not in lock
    # Both are installed from the checkout: an index may contain other packages with the same names.
    assert not re.search(r"^cairn\b", lock, flags=re.MULTILINE)


def test_the_packages_the_project_is_built_on_are_in_the_lock():
    lock = (ROOT / "requirements.lock").read_text()
    for name in ("faust-streaming", "kafka-python", "scikit-learn", "implicit", "redis", "grpcio", "pytest"):
        assert re.search(rf"^{name}==", lock, flags=re.MULTILINE), name
