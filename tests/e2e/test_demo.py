"""The whole system from end to end through every process: what `make demo` does, and what must hold afterwards."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import psutil
import pytest
from rich.console import Console

from deploy.local.demo import DISTRICT, Demo, DemoOptions
from deploy.local.live import Platform
from deploy.local.material import LOG_FILE
from deploy.local.stack import SERVICES, BrokerKind, Stack, StackOptions
from deploy.local.terminal import Story
from deploy.processes import ComponentFailedError
from services.common.kafka.connection import topic_end_offsets
from services.common.kafka.envelope import LEARNER_EVENTS
from tests.true_reasons import catalog_of, problems_of_reply

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("CAIRN_DATA", ROOT.parent / "shared" / "data"))
SAMPLE = ROOT / "deploy" / "local" / "sample"
REAL_LOG = DATA / "assistments2009"
SMALL_DISTRICT = replace(DISTRICT, learners=48, classes=2, weeks=2)


@contextmanager
def demo_on_a_stack(directory: Path, **options) -> Iterator[tuple[Demo, Stack]]:
    broker = BrokerKind(os.environ.get("CAIRN_TEST_BROKER", BrokerKind.EMBEDDED))
    chosen = StackOptions(directory, broker=broker, public=True)
    with Stack(chosen, lambda _: None) as stack:
        story = Story(Console(file=io.StringIO(), width=80))
        demo_options = DemoOptions(chosen, district=SMALL_DISTRICT, classroom="3a", **options)
        yield Demo(demo_options, stack.access, story), stack


def cairn(stack: Stack, *words: str) -> str:
    command = [sys.executable, "-c", "from services.cli import main; main()", *words]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, env=os.environ | stack.environment, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def status(stack: Stack) -> dict:
    return orjson.loads(cairn(stack, "status", "--json", "-"))


def current(found: dict) -> dict:
    return next(epoch for epoch in found["epochs"] if epoch["current"])


def load_again(stack: Stack, demo: Demo, file: Path, file_format: str) -> dict:
    """Load a file again; return the current epoch once it has processed the events."""
    summary = stack.directory / "again.json"
    cairn(stack, "ingest", "load", str(file), "--format", file_format, "--json", str(summary))
    demo.wait_until_applied(2)
    return orjson.loads(summary.read_bytes())


@pytest.fixture
def lists(monkeypatch):
    """Checks every list that the demo receives, and counts them."""
    checked = []
    catalog = catalog_of(*(read_lines(SAMPLE / name) for name in ("skills.jsonl", "resources.jsonl")))
    recommend = Platform.recommend

    def checking(platform, learner_id, *arguments, **named):
        reply = recommend(platform, learner_id, *arguments, **named)
        checked.append(problems_of_reply(reply, platform.learner(learner_id), catalog))
        return reply

    monkeypatch.setattr(Platform, "recommend", checking)
    return checked


def read_lines(path: Path) -> list[dict]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def resources(reply) -> list[str]:
    return [each.resource_id for each in reply.recommendations]


@pytest.mark.timeout(240)
def test_a_districts_events_go_through_every_process_and_become_recommendations(tmp_path, monkeypatch, lists):
    monkeypatch.chdir(ROOT)
    with demo_on_a_stack(tmp_path / "stack") as (demo, stack):
        summary = demo.run()

        # Every event counts once, in two epochs and a replay.
        assert summary.problems == ()
        assert summary.accepted == summary.applied == summary.events_read
        assert (summary.duplicates, summary.rejected, summary.dlt) == (0, 0, 0)
        assert sum(asyncio.run(topic_end_offsets(stack.kafka, LEARNER_EVENTS)).values()) == summary.accepted
        assert summary.learners == 48
        assert summary.resources >= 300
        assert summary.state_digest == summary.replay_digest
        assert 0 < summary.mastered_share < 1
        latency = summary.event_to_recommendation_ms
        assert 0 < latency.p50 <= latency.p99

        # Every reason of every list is true of the learner.
        assert len(lists) > len(demo.play.answers)
        assert [problem for of_list in lists for problem in of_list] == []

        # The class's assessment changed the list, and what was missed was worked on until it was mastered.
        assert resources(demo.play.before) != resources(demo.play.after)
        (missed,) = (skill for skill in read_lines(SAMPLE / "skills.jsonl") if skill["id"] == demo.play.missed)
        assert {missed["id"], *missed["prerequisites"]} & {each.skill for each in demo.play.after.recommendations}
        assert demo.play.mastered

        # The teacher sees the whole class in four groups, each with resources.
        plan = orjson.loads(cairn(stack, "plan", str(stack.directory / "class.csv"), "--json", *demo.play.filters))
        assert len(plan["groups"]) == 4
        assert all(group["members"] and group["steps"] for group in plan["groups"])
        placed = [member["learnerId"] for group in plan["groups"] for member in group["members"]]
        assert len(placed) + len(plan.get("unplaced", [])) == 24

        # `cairn status` agrees with the summary.
        seen = status(stack)
        assert seen["problems"] == []
        assert seen["current_epoch"] == 2
        assert seen["bundle"]
        assert {process["health"] for process in seen["processes"]} == {"serving"}
        assert (current(seen)["applied"], current(seen)["lag"]) == (summary.applied, 0)

        # Loading the same file again changes only the count of duplicates.
        again = load_again(stack, demo, stack.directory / "district.ndjson", "ndjson")
        after = current(status(stack))
        assert again["new"] + again["unchanged"] == summary.accepted - len(demo.play.answers)
        assert (again["revised"], again["conflicts"], again["not_compared"], again["older"]) == (0, 0, 0, 0)
        assert after["applied"] == summary.applied
        assert after["duplicates"] == again["new"] + again["unchanged"]
        assert after["dead_lettered"] == 0
        assert summary.state_digest in cairn(stack, "epoch", "digest", "2")


@pytest.mark.timeout(1200)
@pytest.mark.skipif("CAIRN_FULL_LOG" not in os.environ, reason="takes minutes: set CAIRN_FULL_LOG=1 to run it")
@pytest.mark.skipif(not (REAL_LOG / LOG_FILE).is_file(), reason=f"there is no {REAL_LOG / LOG_FILE}")
def test_the_real_log_is_fully_applied_and_loading_it_again_changes_nothing(tmp_path):
    responses = 274_561
    with demo_on_a_stack(tmp_path / "stack", dataset=REAL_LOG) as (demo, stack):
        summary = demo.run()

        assert summary.problems == ()
        assert summary.accepted == summary.applied == responses
        assert (summary.duplicates, summary.rejected, summary.dlt) == (0, 0, 0)
        assert summary.learners == 4_150

        again = load_again(stack, demo, REAL_LOG / LOG_FILE, "assistments")
        after = current(status(stack))
        assert again["new"] + again["unchanged"] == responses
        assert (after["applied"], after["duplicates"], after["dead_lettered"]) == (responses, responses, 0)
        assert summary.state_digest in cairn(stack, "epoch", "digest", "2")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_broker_that_dies_during_the_demo_is_named_and_everything_stops(tmp_path):
    demo = subprocess.Popen(
        [sys.executable, "-m", "deploy.local", "demo"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    shown = []
    for line in demo.stdout:
        shown.append(line)
        if line.startswith("3"):
            break
    children = psutil.Process(demo.pid).children(recursive=True)
    broker = next(child for child in children if "broker" in child.cmdline())
    broker.send_signal(signal.SIGKILL)

    errors = demo.communicate(timeout=60)[1]

    assert demo.returncode == 1
    assert "broker was ended by SIGKILL, so everything is stopped" in errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_demo_that_is_kept_ends_with_commands_that_work_when_they_are_pasted(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CAIRN_")}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'protos'}"
    command = [sys.executable, "-m", "deploy.local"]
    told = subprocess.run(
        [*command, "demo", "--keep"], check=False, capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    try:
        assert told.returncode == 0, told.stdout + told.stderr
        told_last = told.stdout.partition("goes on running:")[2].splitlines()
        pasted = [line for line in told_last if line.startswith("  ") and "make down" not in line]
        assert len(pasted) == 4
        program = "set -eu\n" + "\n".join(pasted)
        done = subprocess.run(
            ["bash", "-c", program], check=False, capture_output=True, text=True, cwd=tmp_path, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        # A list, a learner's events and a class.
        assert "then check with" in done.stdout
        assert "completed " in done.stdout
        assert "work on" in done.stdout
    finally:
        down = subprocess.run([*command, "down"], check=False, cwd=tmp_path, env=environment)
    assert down.returncode == 0
    assert not (tmp_path / ".local" / "env").exists()


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_recreated_topic_stops_the_start_with_an_error(tmp_path, fresh_kafka_broker, fresh_redis_server):
    worker = next(service for service in SERVICES if service.name == "worker")
    options = StackOptions(
        tmp_path / "stack",
        kafka=fresh_kafka_broker.connection.bootstrap_servers,
        kafka_fetch_wait_ms=fresh_kafka_broker.connection.fetch_wait_ms,
        redis=fresh_redis_server.url,
        services=[worker],
    )
    with Stack(options, lambda _: None):
        pass
    fresh_kafka_broker.stop()
    fresh_kafka_broker.start()

    with pytest.raises(ComponentFailedError) as failed, Stack(options, lambda _: None):
        pass

    message = str(failed.value)
    assert "worker ended with exit code 1" in message
    assert "the topic was recreated" in message
    assert "cairn replay" in message


@pytest.mark.timeout(60)
def test_a_folder_without_a_log_is_refused_before_anything_is_started(tmp_path):
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local", "demo", "--dataset", str(tmp_path)],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert "no interactions.csv.gz" in done.stderr
    assert "broker" not in done.stdout
    assert time.monotonic() - begun < 30
