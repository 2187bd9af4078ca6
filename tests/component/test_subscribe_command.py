"""`cairn subscribe` against a server."""

from __future__ import annotations

import asyncio
import json
import stat

import pytest
from typer.testing import CliRunner

from services.recommender.cli.subscribe import app
from tests.subscribing import NOTIFICATIONS_ONLY, SubscribedServer


@pytest.fixture
async def world(tmp_path):
    world = SubscribedServer(tmp_path, options=NOTIFICATIONS_ONLY)
    await world.begin_epoch()
    await world.answer("amy", 6)
    return world


async def run(process, *arguments):
    key = process.world.directory / "key"
    key.write_text(process.world.api_key)
    options = ["--target", process.address, "--api-key-file", str(key)]
    return await asyncio.to_thread(CliRunner().invoke, app, ["subscribe", *arguments, *options])


async def test_lists_are_printed_with_the_first_reason(world):
    async with world.serving() as process:
        ended = await run(process, "amy", "--limit", "2", "--updates", "1")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.startswith("amy  ")
    assert "   1  teach: " in ended.stdout
    assert "   3  " not in ended.stdout


async def test_each_update_is_a_line_of_json_and_saved_cursors_resume_the_stream(world, tmp_path):
    kept = tmp_path / "cursors.json"
    async with world.serving() as process:
        ended = await run(process, "amy", "ben", "--json", "--updates", "2", "--cursors", str(kept))
        assert {json.loads(line)["learnerId"] for line in ended.stdout.splitlines()} == {"amy", "ben"}
        assert set(json.loads(kept.read_text())) == {"amy", "ben"}
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        await world.answer("amy", 40, response=1.0)
        ended = await run(process, "amy", "ben", "--json", "--updates", "1", "--cursors", str(kept))
        (line,) = ended.stdout.splitlines()
        assert json.loads(line)["learnerId"] == "amy"


async def test_cursors_are_not_changed_when_the_service_refuses(world, tmp_path):
    kept = tmp_path / "cursors.json"
    async with world.serving() as process:
        await run(process, "amy", "--updates", "1", "--cursors", str(kept))
        before = kept.read_bytes()
        kept.chmod(0o644)
        ended = await run(process, "amy", "ben", "--grade", "no such grade" * 50, "--cursors", str(kept))
        assert ended.exit_code == 2
    assert kept.read_bytes() == before
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


async def test_the_whole_tenant_is_printed_by_pseudonym(world):
    async with world.serving() as process:
        ended = await run(process, "--tenant-wide", "--json", "--updates", "1")
    assert json.loads(ended.stdout)["learnerId"] == world.pseudonym("amy")


async def test_an_unusable_request_exits_with_2_and_an_error_message(world, tmp_path):
    broken = tmp_path / "cursors.json"
    broken.write_text("[]")
    async with world.serving() as process:
        for arguments, said in (
            ((), "--tenant-wide"),
            (("amy", "--tenant-wide"), "but not both"),
            (("amy", "amy"), "name each once"),
            (("amy", "--cursors", str(broken)), "does not hold cursors"),
        ):
            ended = await run(process, *arguments)
            assert ended.exit_code == 2
            assert said in ended.stderr
