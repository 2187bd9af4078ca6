"""What is installed: a wheel that stands alone, and a lock that names every file by its hash."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (built,) = target.glob("*.whl")
    return built


def test_the_wheel_holds_the_services_and_the_generated_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"services", "cairn"}
    assert "cairn/v1/events_pb2.py" in names
    assert "cairn/v1/events_pb2.pyi" in names
    assert "services/cli/__init__.py" in names


def test_the_command_works_from_the_unpacked_wheel_without_the_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import services, cairn.v1.events_pb2 as events\n"
        f"assert services.__file__.startswith({str(tmp_path)!r}), services.__file__\n"
        f"assert events.__file__.startswith({str(tmp_path)!r}), events.__file__\n"
        "sys.argv = ['cairn', '--help']\n"
        "from services.cli import main\n"
        "main()\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert shown.returncode == 0, shown.stderr
    for command in ("ingest", "catalog", "train", "replay", "epoch"):
        assert command in shown.stdout


def test_every_requirement_is_pinned_with_hashes_and_no_index_is_named():
    lock = (ROOT / "requirements.lock").read_text()
    requirements = re.split(r"\n(?=[a-z0-9])", lock)[1:]
    assert len(requirements) > 50
    for requirement in requirements:
        assert re.match(r"[\w.-]+==[\w.]+", requirement), requirement[:80]
        assert "--hash=sha256:" in requirement, requirement[:80]
    assert "://" not in lock
    assert "index-url" not in lock


def test_the_packages_the_project_is_built_on_are_in_the_lock():
    lock = (ROOT / "requirements.lock").read_text()
    for name in ("faust-streaming", "kafka-python", "scikit-learn", "implicit", "redis", "grpcio", "pytest"):
        assert re.search(rf"^{name}==", lock, flags=re.MULTILINE), name
