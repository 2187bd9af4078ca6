"""`up` and `down`: a stack that keeps running after the command that started it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import TypeAdapter

from deploy.local.access import StackAccess
from deploy.local.stack import INFRASTRUCTURE, Component, Report, Stack, StackOptions
from deploy.processes import ComponentFailedError, StackError

DIRECTORY = Path(".local/up")

_STOP_DEADLINE_S = 15.0
_OWN = "CAIRN_OWN_"


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process, identified by its id and creation time, since process ids are reused."""

    name: str
    pid: int
    created_at_s: float

    @classmethod
    def of(cls, name: str, pid: int) -> ProcessIdentity:
        """The identity of a running process."""
        return cls(name, pid, psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """The process, or None when it has exited."""
        try:
            process = psutil.Process(self.pid)
            return process if process.create_time() == self.created_at_s else None
        except psutil.NoSuchProcess:
            return None


OPTIONS = TypeAdapter(StackOptions)
COMPONENT = TypeAdapter(Component)
_PROCESSES = TypeAdapter(list[ProcessIdentity])


def supervise(options: StackOptions) -> None:
    """Run a stack until a stop signal; this is the process that `up` leaves running.

    Standard output reports to the starting command, one line of JSON per component; it is closed once all are ready.

    Raises:
        StackError: when a component cannot be started, or exits.
        StopRequestedError: when a signal came; everything is stopped by then.
    """
    components: list[Component] = []

    def report(component: Component) -> None:
        components.append(component)
        _tell(component)

    state, environment = _state_file(options.directory), environment_file(options.directory)
    try:
        with Stack(options, report) as stack:
            supervisor = ProcessIdentity.of("supervisor", os.getpid())
            processes = {each.name: ProcessIdentity.of(each.name, each.pid) for each in components if each.pid}

            def write_state() -> None:
                _write_private(state, _PROCESSES.dump_json([supervisor, *processes.values()]).decode())

            def restarted(component: Component) -> None:
                sys.stderr.write(f"{component.name} had ended and was started again, as process {component.pid}\n")
                sys.stderr.flush()
                processes[component.name] = ProcessIdentity.of(component.name, component.pid)
                write_state()

            _write_private(environment, _for_a_shell(stack.environment | _of_this_stack(stack, options)))
            write_state()
            _let_go_of_standard_output()
            stack.keep_running(restarted)
    finally:
        state.unlink(missing_ok=True)
        environment.unlink(missing_ok=True)


def _of_this_stack(stack: Stack, options: StackOptions) -> dict[str, str]:
    """Marks the broker and the Redis that the stack started itself; see `outside`."""
    own = {"KAFKA": (options.kafka, stack.kafka.bootstrap_servers), "REDIS": (options.redis, stack.redis)}
    return {f"{_OWN}{name}": address for name, (given, address) in own.items() if not given}


def outside(name: str, given: str) -> str:
    """The address of a broker or Redis to use instead of an own one; empty: none.

    A shell with the environment of another stack names what that stack started, and may have stopped since.

    Args:
        name: KAFKA or REDIS.
        given: the value of the option or of the variable of that name.
    """
    return "" if given == os.environ.get(f"{_OWN}{name}") else given


def up(options: StackOptions, report: Report) -> None:
    """Start a supervisor in the background and return once its stack is ready.

    Args:
        options: what to start.
        report: called with each component that is ready.

    Raises:
        StackError: when a stack is already running, or this one cannot start; nothing is left running then.
    """
    running = _running(options.directory)
    if running:
        raise StackError(f"the stack is already running (process {running[0].pid}); stop it with: make down")
    options.directory.mkdir(parents=True, exist_ok=True)
    with _log_file(options.directory).open("wb") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "deploy.local", "supervise", OPTIONS.dump_json(options).decode()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
        )
    try:
        _follow(supervisor, options, report)
    except BaseException:
        supervisor.terminate()
        supervisor.wait()
        raise
    # The process outlives this object, which would otherwise warn about it.
    supervisor.returncode = 0


def access(directory: Path) -> StackAccess:
    """The stack that `up` left running in `directory`, as its clients see it.

    Raises:
        StackError: when none is running.
    """
    identities = _running(directory)
    if not identities:
        raise StackError(f"no stack runs in {directory}; start one with: make up")

    def check_running() -> None:
        running = {each.name: process for each in identities if (process := each.find()) is not None}
        # Services are started again; the broker and Redis are not.
        lasting = {each.name for each in identities} & {"supervisor", *INFRASTRUCTURE}
        if lasting <= running.keys():
            return
        if "supervisor" in running:
            # It is about to stop the others and to say why.
            psutil.wait_procs([running["supervisor"]], timeout=_STOP_DEADLINE_S)
        raise ComponentFailedError(_last_words(directory) or f"the stack in {directory} was stopped")

    lines = shlex.split(environment_file(directory).read_text(encoding="utf-8"))
    return StackAccess(directory, dict(line.split("=", 1) for line in lines), check_running)


def down(directory: Path) -> list[str]:
    """Stop the processes that `up` left running in `directory` and return the names of the stopped ones."""
    found = _running(directory)
    processes = {identity.name: process for identity in found if (process := identity.find()) is not None}
    if "supervisor" in processes:
        # It stops the others in order.
        processes["supervisor"].terminate()
        psutil.wait_procs(processes.values(), timeout=_STOP_DEADLINE_S)
    for process in processes.values():
        if process.is_running():
            process.kill()
    psutil.wait_procs(processes.values(), timeout=_STOP_DEADLINE_S)
    _state_file(directory).unlink(missing_ok=True)
    environment_file(directory).unlink(missing_ok=True)
    return list(processes)


def _follow(supervisor: subprocess.Popen[bytes], options: StackOptions, report: Report) -> None:
    assert supervisor.stdout is not None  # noqa: S101 - it was started with a pipe.
    with supervisor.stdout as lines:
        for line in lines:
            report(COMPONENT.validate_json(line))
    if not _state_file(options.directory).exists():
        supervisor.wait()
        raise StackError(_last_words(options.directory) or "the supervisor exited without a message")


def _running(directory: Path) -> list[ProcessIdentity]:
    try:
        identities = _PROCESSES.validate_json(_state_file(directory).read_bytes())
    except FileNotFoundError:
        return []
    return [identity for identity in identities if identity.find() is not None]


def environment_file(directory: Path) -> Path:
    """The file with the environment of clients, written by `up`: `set -a; . FILE; set +a`."""
    return directory.parent / "env"


def _for_a_shell(environment: Mapping[str, str]) -> str:
    """The environment as shell assignments, for `set -a; . FILE; set +a`."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in environment.items())


def _log_file(directory: Path) -> Path:
    return directory / "supervisor.out"


def _last_words(directory: Path) -> str:
    """What a supervisor said when it ended: its standard error. Empty when it said nothing."""
    log = _log_file(directory)
    return log.read_text(errors="replace", encoding="utf-8").strip() if log.exists() else ""


def _state_file(directory: Path) -> Path:
    return directory / "processes.json"


def _tell(component: Component) -> None:
    sys.stdout.write(COMPONENT.dump_json(component).decode() + "\n")
    sys.stdout.flush()


def _let_go_of_standard_output() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _write_private(path: Path, text: str) -> None:
    """Atomically write a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
