"""The examples in the README and docs/ work: they run in one shell, page after page, and print what they promise."""

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
# The pages with commands, in the order in which a reader follows them.
PAGES = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in (
            "platforms",
            "files",
            "classes",
            "security",
            "formats",
            "operations",
            "reliability",
            "science",
            "performance",
            "contributing",
        )
    ),
]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

# Run by CI or by a test of their own, since each takes a minute or more.
COVERED_ELSEWHERE = {
    "make demo": "tests/e2e/test_demo.py",
    "make test": ".ci/run",
    "make setup": ".ci/run",
    "make lint": ".ci/run",
    "make test-fast": ".ci/run",
    "make demo DATASET=../shared/data/assistments2009 JSON=summary.json": "tests/e2e/test_demo.py",
    "make bench JSON=bench.json": "tests/benchmarks",
    "make simulate": "tests/simulation",
    "make mutation-check": "tests/mutations",
    "make test-kafka": ".ci/run",
    "make faults": "tests/faults",
    "make evaluate": "tests/component/test_evaluation_floor.py",
    "cairn evaluate closed-loop": "tests/component/test_closed_loop.py",
}


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, content) of a page's code blocks, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def script(directory: Path) -> str:
    """All pages as one shell script.

    The Python blocks of a page build on each other, so they form one program that runs where its first block is.
    """
    pieces = ["set -eu -o pipefail"]
    for page in PAGES:
        python = [content for language, content in blocks(page) if language == "python"]
        program = directory / f"{page.stem}.py"
        program.write_text("\n".join(python))
        for language, content in blocks(page):
            if language == "bash":
                pieces += [line for line in _runnable(content.splitlines()) if line not in COVERED_ELSEWHERE]
            elif python and content == python[0]:
                pieces.append(f"python {program}")
    # `make up` and `make down` run these in the checkout; here they run in a folder of the test.
    text = "\n".join(pieces) + "\n"
    text = re.sub(r"^make (up|down)$", r"python -m deploy.local \1", text, flags=re.MULTILINE)
    return text.replace("$PWD/.venv/bin", str(Path(sys.executable).parent))


def _runnable(lines: list[str]) -> list[str]:
    if shutil.which("grpcurl"):
        return lines
    fake = f"{shlex.quote(sys.executable)} {shlex.quote(str(Path(__file__)))}"
    return [re.sub(r"^grpcurl\b", fake, line) for line in lines]


@pytest.fixture
def folder_with_the_code(tmp_path):
    for name in ("deploy", "services", "protos"):
        (tmp_path / name).symlink_to(ROOT / name)
    # The gateway serves it.
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "openapi.yaml").symlink_to(ROOT / "docs" / "openapi.yaml")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CAIRN_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{tmp_path / 'protos'}"
    yield tmp_path, environment
    down = [sys.executable, "-m", "deploy.local", "down"]
    subprocess.run(down, cwd=tmp_path, env=environment, check=False, capture_output=True, timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_newcomer_can_follow_the_documents_to_their_end(folder_with_the_code):
    directory, environment = folder_with_the_code
    program = directory / "documents.sh"
    program.write_text(script(directory))
    followed = subprocess.run(
        ["bash", str(program)], cwd=directory, env=environment, capture_output=True, text=True, timeout=220, check=False
    )
    output = followed.stdout + followed.stderr
    assert followed.returncode == 0, output[-6000:]
    assert "EVENT_STATUS_ACCEPTED at " in output
    assert "3.OA.A.1" in output
    assert '"recommendations"' in output
    assert '"skills"' in output
    assert "epoch 2 is built" in output
    assert not (directory / ".local" / "env").exists()


def test_every_page_with_commands_is_followed():
    with_commands = {page for page in DOCUMENTS if any(language in {"bash", "python"} for language, _ in blocks(page))}
    assert with_commands <= set(PAGES)


def test_every_named_make_target_exists():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for page in DOCUMENTS:
        for target in re.findall(r"(?:^|`)make ([a-z0-9-]+)", page.read_text(), flags=re.MULTILINE):
            assert target in targets, (page.name, target)


def test_every_link_within_the_repository_leads_to_a_file():
    for page in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)


def test_every_link_to_a_heading_leads_to_a_heading():
    for page in DOCUMENTS:
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([\w-]+)\)", page.read_text()):
            headings = re.findall(
                r"^#+ (.*)$", (page.parent / target if target else page).read_text(), flags=re.MULTILINE
            )
            anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, (page.name, target, anchor)


def test_the_readme_is_a_front_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


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
