"""The README tells the truth: its commands run, in its order, in one shell, and print what it says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from google.protobuf import json_format

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"

# Run by CI or by a test of their own, since each takes a minute or more.
COVERED_ELSEWHERE = {
    "make demo": "tests/e2e/test_demo.py",
    "make test": ".ci/run",
    "make demo DATASET=../shared/data/assistments2009 JSON=summary.json": "tests/e2e/test_demo.py",
    "make bench JSON=bench.json": "tests/benchmarks",
    "make simulate": "tests/simulation",
    "make mutation-check": "tests/mutations",
    "make test-kafka": ".ci/run",
    "make faults": "tests/faults",
    "make evaluate": "tests/component/test_evaluation_floor.py",
}


def blocks() -> list[tuple[str, str]]:
    """(language, content) of the README's code blocks, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", README.read_text(), flags=re.DOTALL | re.MULTILINE)


def script(directory: Path) -> str:
    """The README as one shell script: its commands, and its Python, which builds on itself, whole where it begins."""
    python = directory / "readme.py"
    written = [content for language, content in blocks() if language == "python"]
    python.write_text("\n".join(written))
    pieces = ["set -eu -o pipefail"]
    for language, content in blocks():
        if language == "bash":
            pieces += [line for line in _runnable(content.splitlines()) if line not in COVERED_ELSEWHERE]
        elif content == written[0]:
            pieces.append(f"python {python}")
    # `make up` and `make down` run these in the checkout; here they run beside it.
    text = "\n".join(pieces) + "\n"
    text = re.sub(r"^make (up|down)$", r"python -m deploy.local \1", text, flags=re.MULTILINE)
    return text.replace("$PWD/.venv/bin", str(Path(sys.executable).parent))


def _runnable(lines: list[str]) -> list[str]:
    if shutil.which("grpcurl"):
        return lines
    fake = f"{shlex.quote(sys.executable)} {shlex.quote(str(Path(__file__)))}"
    return [re.sub(r"^grpcurl\b", fake, line) for line in lines]


@pytest.fixture
def beside_the_checkout(tmp_path):
    for name in ("deploy", "services", "protos"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CAIRN_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["PYTHONPATH"] = str(tmp_path)
    yield tmp_path, environment
    down = [sys.executable, "-m", "deploy.local", "down"]
    subprocess.run(down, cwd=tmp_path, env=environment, check=False, capture_output=True, timeout=60)


@pytest.mark.timeout(240)
def test_a_newcomer_can_follow_the_readme_to_its_end(beside_the_checkout):
    directory, environment = beside_the_checkout
    program = directory / "readme.sh"
    program.write_text(script(directory))
    followed = subprocess.run(
        ["bash", str(program)], cwd=directory, env=environment, capture_output=True, text=True, timeout=220, check=False
    )
    told = followed.stdout + followed.stderr
    assert followed.returncode == 0, told[-6000:]
    assert "EVENT_STATUS_ACCEPTED at " in told
    assert "3.OA.A.1" in told
    assert '"recommendations"' in told
    assert '"skills"' in told
    assert "epoch 2 is built" in told
    assert not (directory / ".local" / "env").exists()


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", README.read_text(), flags=re.MULTILINE):
        assert target in targets, target


def test_every_link_within_the_repository_leads_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (ROOT / target).exists(), target


def grpcurl(arguments: list[str]) -> None:
    """Make the call that a grpcurl command line describes, for machines without grpcurl."""
    from cairn.v1 import catalog_pb2_grpc, ingest_pb2_grpc, recommender_pb2, recommender_pb2_grpc

    options = dict(pairwise(arguments))
    address, method = arguments[-2], arguments[-1].rpartition("/")[2]
    name, _, value = options["-H"].partition(": ")
    stubs = (
        recommender_pb2_grpc.RecommendationServiceStub,
        catalog_pb2_grpc.CatalogServiceStub,
        ingest_pb2_grpc.IngestServiceStub,
    )
    with grpc.insecure_channel(address) as channel:
        call = next(getattr(stub(channel), method) for stub in stubs if hasattr(stub(channel), method))
        request = json_format.Parse(options["-d"], getattr(recommender_pb2, f"{method}Request")())
        reply = call(request, metadata=((name, value),), timeout=float(options["-max-time"]))
        sys.stdout.write(json_format.MessageToJson(reply) + "\n")


if __name__ == "__main__":
    grpcurl(sys.argv[1:])
