"""The whole system from end to end: events in, recommendations out, and a check that nothing was lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import orjson
import redis.asyncio
from rich.console import Console

from deploy.local import supervisor, terminal
from deploy.local.access import StackAccess
from deploy.local.district import DistrictSettings
from deploy.local.live import Platform, connected, percentile
from deploy.local.material import Material, check_log, real_log, simulated_district
from deploy.local.play import Play
from deploy.local.stack import Stack, StackOptions
from deploy.local.summary import Latency, Summary, check_writable
from deploy.local.terminal import Story
from deploy.processes import StackError
from services.common.auth.public_tenant import PUBLIC_TENANT
from services.common.kafka.connection import topic_end_offsets
from services.common.kafka.envelope import LEARNER_EVENTS
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.application.ports.learners import PartitionProgress, StateUnavailableError
from services.recommender.application.state.epochs import digest_epoch

# A Friday after school. The simulated weeks end here, so that every run simulates the same district.
SIMULATED_NOW = datetime(2026, 3, 13, 15, tzinfo=UTC)
DISTRICT = DistrictSettings(seed=20_260_313, ends_at=SIMULATED_NOW)

_ROSTER = "class.csv"
_LIVE_EPOCH = 2
_PROOF_EPOCH = 3
_POLL_S = 0.05
_STUCK_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of a demo.

    Attributes:
        stack: the processes to start.
        dataset: folder of a real log; None: a simulated district.
        json: file to write the figures to; None: no file.
        district: the simulated district.
        classroom: the class of it that takes an assessment.
        keep: whether to leave the stack running in the end, as `up` does.
    """

    stack: StackOptions
    dataset: Path | None = None
    json: Path | None = None
    district: DistrictSettings = DISTRICT
    classroom: str = "3b"
    keep: bool = False


def run_demo(options: DemoOptions, console: Console) -> None:
    """Start everything, load, train, replay, play live, verify, and stop everything.

    Raises:
        StackError: when it cannot continue, or when the figures do not add up; the message is a sentence with a remedy.
        StopRequestedError: on a stop signal; everything is stopped by then.
    """
    # Check everything that a person can fix before anything is started.
    if options.json is not None:
        check_writable(options.json)
    if options.dataset is not None:
        check_log(options.dataset)
    story = Story(console)
    story.begin("a real log" if options.dataset else "a simulated district")
    with contextlib.ExitStack() as running:
        with story.stage("start", "Start broker, Redis and services on this machine"):
            stack = running.enter_context(_started(options, console))
            story.note(f"their logs are in {options.stack.directory}")
        demo = Demo(options, stack, story)
        try:
            summary = demo.run()
        except (grpc.RpcError, StateUnavailableError, ConnectionError) as error:
            # If a component exited, it is the cause, and this error only a symptom.
            stack.check_running()
            raise StackError(f"{_said(error)}; the logs are in {stack.directory}") from error
        story.summary(summary)
        if options.json is not None:
            options.json.write_bytes(summary.as_json())
        if summary.problems:
            raise StackError("; ".join(summary.problems))
        _explore(options, demo.play, story)


@contextlib.contextmanager
def _started(options: DemoOptions, console: Console) -> Iterator[StackAccess]:
    """A stack that is stopped at the end; one to be kept is stopped only after an error."""
    # The addresses would differ from run to run.
    report = terminal.component_reporter(console, addresses=False)
    if not options.keep:
        with Stack(options.stack, report) as stack:
            yield stack.access
        return
    supervisor.up(options.stack, report)
    try:
        yield supervisor.access(options.stack.directory)
    except BaseException:
        supervisor.down(options.stack.directory)
        raise


class Demo:
    """One run on a running stack.

    Attributes:
        play: what was played live.
    """

    def __init__(self, options: DemoOptions, stack: StackAccess, story: Story) -> None:
        self._options = options
        self._stack = stack
        self._story = story
        self.play = Play(story)

    def run(self) -> Summary:
        """Run everything between start and stop; returns the figures, whether they add up or not.

        Raises:
            StackError: when it cannot continue.
        """
        self._refuse_a_log_in_use()
        material = self._prepare()
        with connected(
            self._stack.ingest,
            self._stack.catalog,
            self._stack.server,
            self._stack.api_key,
            material.as_of,
        ) as platform:
            loaded = self._load(material)
            self._train_and_switch(platform, material.live.learner_id)
            self._play(platform, material)
            return self._prove(platform, material, loaded)

    def _refuse_a_log_in_use(self) -> None:
        ends = asyncio.run(topic_end_offsets(self._stack.kafka, LEARNER_EVENTS))
        if sum(ends.values()):
            raise StackError(
                f"{LEARNER_EVENTS} at {self._stack.kafka.bootstrap_servers} holds {sum(ends.values()):,} records "
                "already, and the demo accounts for every record: unset CAIRN_KAFKA and CAIRN_REDIS for embedded ones"
            )

    def _prepare(self) -> Material:
        dataset = self._options.dataset
        if dataset is None:
            with self._story.stage("prepare", "Simulate a district: nobody in it is real"):
                material = simulated_district(self._options.district, self._options.classroom, self._stack.directory)
                self._story.done(f"{material.title}: {material.loaded:,} responses")
            return material
        with self._story.stage("prepare", "Read the log"), self._story.progress("reading", None) as observe:
            material = real_log(dataset, self._stack.directory, observe)
            live = len(material.live.submissions) + sum(len(play.submissions) for play in material.others)
            self._story.done(
                f"{material.loaded + live:,} responses of {len(material.learners):,} learners, {live} held back"
            )
        return material

    def _load(self, material: Material) -> Mapping[str, Any]:
        with self._story.stage("catalog", "Import the catalog"):
            files = ["--skills", str(material.skills), "--resources", str(material.resources)]
            self._cairn("catalog", "import", *files)
        summary = self._stack.directory / "load.json"
        with self._story.stage("load", f"Load {material.loaded:,} events through ingest into Kafka"):
            rejected = self._stack.directory / "rejected.ndjson"
            arguments = ["--format", material.events_format.value, "--rejected", str(rejected), "--json", str(summary)]
            self._cairn("ingest", "load", str(material.events), *arguments, may_end_with={0, 1})
        with self._story.stage("apply", "Wait until the worker has applied all of them"):
            progress = self.wait_until_applied(None)
            self._story.done(f"lag 0: {sum(each.applied for each in progress.values()):,} events applied")
        loaded: Mapping[str, Any] = orjson.loads(summary.read_bytes())
        return loaded

    def _train_and_switch(self, platform: Platform, learner_id: str) -> None:
        trained = self._stack.directory / "trained.json"
        with self._story.stage("train", "Fit difficulties and collaborative filtering on the log"):
            self._cairn("train", "--json", str(trained))
        bundle = orjson.loads(trained.read_bytes())["bundle_id"]
        with self._story.stage("replay", "Replay the log with the fitted models"):
            self._cairn("replay", "--epoch", str(_LIVE_EPOCH), "--parameters", bundle)
        with self._story.stage("switch", "Switch to the new epoch; events may keep arriving"):
            self._cairn("epoch", "switch", str(_LIVE_EPOCH))
            self.wait_until_applied(_LIVE_EPOCH)
            self._wait_until(
                lambda: platform.recommend(learner_id).provenance.epoch == _LIVE_EPOCH, "serve the new epoch"
            )
            self._story.done(f"epoch {_LIVE_EPOCH} is being served")

    def _play(self, platform: Platform, material: Material) -> None:
        with self._story.stage("live", "Take an assessment live"):
            self.play.assess(platform, material)
        with self._story.stage("groups", "The teacher's view of the class: groups that share a gap"):
            roster = self._stack.directory / _ROSTER
            roster.write_text("".join(f"{line}\n" for line in ("learner", *material.roster)), encoding="utf-8")
            self._cairn("plan", str(roster), *self.play.filters)
        if material.learning is not None:
            with self._story.stage("work", "Work on what was missed, as the newest list recommends"):
                self.play.work(platform, material.learning, material.live.grades)

    def _prove(self, platform: Platform, material: Material, loaded: Mapping[str, Any]) -> Summary:
        with self._story.stage("prove", "Fold the whole log again and compare"):
            progress = self.wait_until_applied(_LIVE_EPOCH)
            state_digest = self._digest(_LIVE_EPOCH)
            self._cairn("replay", "--epoch", str(_PROOF_EPOCH), "--parameters", "same")
            replay_digest = self._digest(_PROOF_EPOCH)
            if state_digest == replay_digest:
                self._story.done("the replay gives exactly the state that was folded live")
        with self._story.stage("survey", "Read what every learner has mastered"):
            known = platform.learners(material.learners)
            pairs = [mastery.mastered for learner in known for mastery in learner.skills]
            resources = platform.resources()
            self._story.done(f"{len(known):,} learners, {len(pairs):,} learner-skill pairs")
        milliseconds = [answered.milliseconds for answered in self.play.answers]
        return Summary(
            events_read=loaded["read"] + len(milliseconds),
            accepted=loaded["new"] + loaded["unchanged"] + loaded["revised"] + len(milliseconds),
            duplicates=sum(each.duplicates for each in progress.values()),
            rejected=loaded["rejected"] + loaded["conflicts"],
            applied=sum(each.applied for each in progress.values()),
            dlt=sum(each.dead_lettered + each.conflicts for each in progress.values()),
            learners=len(known),
            resources=resources,
            stages_s=self._story.stages_s,
            event_to_recommendation_ms=Latency(
                round(percentile(milliseconds, 0.5), 2), round(percentile(milliseconds, 0.99), 2)
            ),
            state_digest=state_digest,
            replay_digest=replay_digest,
            mastered_share=round(sum(pairs) / len(pairs), 4) if pairs else 0.0,
        )

    def _cairn(self, *words: str, may_end_with: frozenset[int] | set[int] = frozenset({0})) -> None:
        """Run a `cairn` command as a person would, with its output next to ours.

        Raises:
            ComponentFailedError: when a component exits meanwhile.
            StackError: when the command fails.
        """
        self._story.command(words)
        program = "from services.cli import main; main()"
        command = subprocess.Popen(
            [sys.executable, "-c", program, *words],
            env=os.environ | self._stack.environment,
            stdin=subprocess.DEVNULL,
        )
        try:
            while True:
                try:
                    code = command.wait(_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    self._stack.check_running()
        finally:
            command.kill()
            command.wait()
        if code not in may_end_with:
            self._stack.check_running()
            raise StackError(f"cairn {' '.join(words)} ended with exit code {code}; see its output above")

    def _wait_until(self, reached: Callable[[], bool], what: str) -> None:
        """Return once `reached()`; raise StackError when it takes too long."""
        give_up_at = time.monotonic() + _STUCK_AFTER_S
        while not reached():
            self._stack.check_running()
            if time.monotonic() > give_up_at:
                raise StackError(f"the server did not {what} within {_STUCK_AFTER_S:g} s; see its log")
            time.sleep(_POLL_S)

    def wait_until_applied(self, epoch: int | None) -> Mapping[int, PartitionProgress]:
        """Wait until the current epoch is `epoch` (None: any) and has reached the end of the log; return its progress.

        Raises:
            ComponentFailedError: when a component exits meanwhile.
            StackError: when the worker makes no progress.
        """
        return asyncio.run(self._applied(epoch))

    async def _applied(self, epoch: int | None) -> Mapping[int, PartitionProgress]:
        ends = await topic_end_offsets(self._stack.kafka, LEARNER_EVENTS)
        total = sum(ends.values())
        last_moved_at, last_done = asyncio.get_running_loop().time(), -1
        client = redis.asyncio.Redis.from_url(self._stack.redis)
        epochs = RedisEpochs(client)
        try:
            with self._story.progress("applied", total) as observe:
                while True:
                    current = await epochs.current_epoch()
                    progress = {} if current is None else await epochs.progress(current)
                    done = sum(each.position for each in progress.values())
                    observe(done)
                    if done >= total and current is not None and epoch in {None, current}:
                        return progress
                    now = asyncio.get_running_loop().time()
                    if done != last_done:
                        last_moved_at, last_done = now, done
                    elif now - last_moved_at > _STUCK_AFTER_S:
                        raise StackError(
                            f"the worker has stopped at {done:,} of {total:,} records for {_STUCK_AFTER_S:g} s; see "
                            f"{self._stack.directory / 'worker.log'}"
                        )
                    self._stack.check_running()
                    await asyncio.sleep(_POLL_S)
        finally:
            await client.aclose()

    def _digest(self, epoch: int) -> str:
        async def digest() -> str:
            client = redis.asyncio.Redis.from_url(self._stack.redis)
            try:
                return (await digest_epoch(RedisEpochs(client), epoch)).digest
            finally:
                await client.aclose()

        return asyncio.run(digest())


def _explore(options: DemoOptions, play: Play, story: Story) -> None:
    """Print what to type next: commands that work in the folder of this run, with the environment that `up` writes."""
    roster = supervisor.DIRECTORY / _ROSTER
    filters = shlex.join(play.filters)
    cairn = os.path.relpath(Path(sys.executable).parent / "cairn")
    again = "make demo KEEP=yes" + (f" DATASET={shlex.quote(str(options.dataset))}" if options.dataset else "")
    environment = f"set -a; . {supervisor.environment_file(supervisor.DIRECTORY)}; set +a"
    story.explore(
        "Everything goes on running:" if options.keep else "Run it again, and let everything go on running:",
        [environment] if options.keep else [f"{again} && {environment}"],
    )
    story.explore(
        "Then, for example:",
        [
            f"{cairn} recommend {play.learner_id} --limit 5 {filters}",
            f"{cairn} learner show {play.learner_id} --events --tenant {PUBLIC_TENANT}",
            f"{cairn} class {roster} --limit 1 {filters}",
        ],
    )
    story.note("make down stops everything.")


def _said(error: Exception) -> str:
    """The message of an error, without the dump that gRPC adds."""
    if isinstance(error, grpc.Call):
        return f"a service answered {error.code().name}: {error.details()}"
    return str(error)
