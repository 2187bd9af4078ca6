"""What `cairn ingest load` says of a file's skills, items and activities, from a CatalogService over real gRPC."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from services.catalog.bootstrap import CatalogOptions
from services.catalog.domain.contents import Changes
from services.catalog.domain.model import Resource, Skill, SkillTag
from services.catalog.entrypoints.grpc import ImportLimits
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES, Scope
from services.common.resource_kinds import ResourceKindName
from services.ingest.cli import load as cli_load
from services.ingest.cli.ingest import app
from tests.adapters.memory_catalog_log import MemoryCatalogLog
from tests.adapters.memory_publisher import MemoryPublisher
from tests.catalogs import LISTEN, grpc_server

# More than a page of either.
SKILLS = [Skill(f"skill-{number:04}") for number in range(1_001)]
RESOURCES = [
    *(
        Resource(f"item-{number:04}", "q", ResourceKindName.PRACTICE, assesses=(SkillTag("skill-0000", 1.0),))
        for number in range(1_001)
    ),
    Resource("lesson", "teaches only", ResourceKindName.PRACTICE, teaches=(SkillTag("skill-0000", 1.0),)),
    Resource("bare", "has no tag", ResourceKindName.PRACTICE),
]
EVENTS = [
    {"item": "item-0000", "skills": ["skill-1000", "divide"]},
    {"item": "item-0000", "skills": ["divide", "add"]},
    {"item": "item-1000"},
    {"item": "q1", "activity": "item-0000"},
    {"item": "lesson"},
    {"item": "bare"},
    {"item": "bare"},
]


@pytest.fixture
def keys(tmp_path):
    scopes = {"all": ALL_SCOPES, "ingest": [Scope.INGEST]}
    return {name: create_api_key(tmp_path / "t.yaml", "riverbend", name, granted) for name, granted in scopes.items()}


@pytest.fixture
async def load(tmp_path, monkeypatch, keys):
    """Loads a file of events with a catalog service; `events` is the service that events went to."""
    log = MemoryCatalogLog()
    view = await log.view()
    await log.append("riverbend", Changes((*SKILLS, *RESOURCES)))
    limits = ImportLimits(records_max=10_000, bytes_max=10_000_000)
    server = grpc_server(log, view, tmp_path / "t.yaml", options=CatalogOptions(LISTEN, limits))
    address = await server.start()
    publisher = MemoryPublisher()
    monkeypatch.setattr(cli_load, "grpc_publisher", lambda *_, **__: publisher)
    monkeypatch.chdir(tmp_path)
    lines = (json.dumps({"learner_id": "ada", "correct": True} | event) + "\n" for event in EVENTS)
    (tmp_path / "events.ndjson").write_text("".join(lines))

    async def run(*options, key="all", target=address):
        environment = {"CAIRN_API_KEY": keys.get(key, ""), "CAIRN_TARGET_CATALOG": target, "COLUMNS": "200"}
        arguments = ["load", "events.ndjson", "--source", "s", *options]
        result = await asyncio.to_thread(CliRunner(env=environment).invoke, app, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    run.events = publisher
    yield run
    await server.stop()


def rows(printed):
    """The count and the remark of each line that begins with a name and has a count."""
    names = ("unknown skills", "without a skill", "untagged", "catalog")
    lines = [line.strip() for line in printed.splitlines()]
    return {name: line.removeprefix(name).strip() for line in lines for name in names if line.startswith(f"{name} ")}


@pytest.mark.parametrize("options", [["--preview"], ["--dry-run"], []], ids=["preview", "dry run", "load"])
async def test_skills_and_items_that_the_catalog_does_not_have_are_counted_and_named(load, options):
    shown = rows(await load(*options))
    assert shown["unknown skills"] == "2  most often divide (2), add (1)"
    assert shown["without a skill"].startswith("5  acts, of which 2 get the skills")
    assert shown["untagged"].startswith("2  items or activities of 3 acts, which teach nothing")
    assert shown["untagged"].endswith("most often bare (2), lesson (1)")
    assert "catalog" not in shown
    assert len(load.events.came) == (0 if options else len(EVENTS))


@pytest.mark.parametrize("options", [["--dry-run"], []], ids=["dry run", "load"])
async def test_the_summary_for_machines_has_the_same_counts(load, tmp_path, options):
    await load(*options, "--json", "summary.json")
    found = json.loads((tmp_path / "summary.json").read_text())["found"]
    assert found["catalog"] == {"unknown_skills": 2, "untagged": 3, "untagged_items": 2}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"target": ""}, "not asked: set CAIRN_TARGET_CATALOG or --target-catalog"),
        ({"key": "none"}, "not asked: set CAIRN_API_KEY or --api-key-file"),
        ({"target": "127.0.0.1:1"}, "not asked: the catalog service at 127.0.0.1:1 gives no answer (UNAVAILABLE: "),
        ({"key": "ingest"}, "gives no answer (PERMISSION_DENIED: "),
    ],
    ids=["no address", "no key", "away", "a key that may not"],
)
async def test_where_the_catalog_cannot_be_asked_the_reason_is_said_and_the_rest_is_done(load, settings, reason):
    shown = rows(await load("--dry-run", **settings))
    assert reason in shown["catalog"]
    assert shown["without a skill"].startswith("5  acts: they teach nothing unless")
    assert not shown.keys() & {"unknown skills", "untagged"}
