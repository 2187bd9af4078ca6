"""The `cairn` command as a whole."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from services.cli import COMMANDS, EVALUATIONS, root

_MODULES_THAT_COST_TIME = ("numpy", "numba", "kafka", "aiokafka", "redis", "grpc")


def test_help_imports_no_slow_module():
    script = (
        "import sys, services.cli as c\n"
        "try:\n    c.main()\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {_MODULES_THAT_COST_TIME!r} if m in sys.modules], file=sys.stderr)\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", script, "--help"], check=False, capture_output=True, text=True, timeout=30
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # CPU time of the command, because wall time depends on the load of the machine.
    took_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert done.stderr.strip() == "[]"
    assert "Usage: cairn" in done.stdout
    assert took_s < 3


@pytest.mark.parametrize("command", [*COMMANDS, *EVALUATIONS], ids=lambda command: command.name)
def test_the_line_in_the_help_is_the_command_s_own(command):
    pytest.importorskip(command.module, exc_type=ModuleNotFoundError)

    assert command.load().help.splitlines()[0] == command.short_help


@pytest.mark.parametrize("command", [*COMMANDS, *EVALUATIONS], ids=lambda command: command.name)
def test_every_command_shows_an_example(command):
    pytest.importorskip(command.module, exc_type=ModuleNotFoundError)

    for leaf in _leaves(command.load()):
        assert "Example" in f"{leaf.help} {leaf.epilog}", leaf.name


@pytest.mark.parametrize("module", ["train", "epochs", "learners", "plan"])
def test_no_command_of_the_recommender_is_left_out(module):
    recommender = pytest.importorskip(f"services.recommender.cli.{module}", exc_type=ModuleNotFoundError)
    import typer

    mounted = {command.name for command in COMMANDS if command.module == recommender.__name__}
    assert set(typer.main.get_command(recommender.app).commands) == mounted


def test_the_version_is_printed(capsys):
    assert root().main(["--version"], standalone_mode=False) == 0

    assert capsys.readouterr().out.startswith("cairn 0.")


def test_a_mistyped_command_gets_a_suggestion(capsys):
    with pytest.raises(SystemExit) as ended:
        root().main(["topcs"])

    assert ended.value.code == 2
    assert "'topics'" in capsys.readouterr().err


def _leaves(command):
    # A command of another service that belongs to a group is loaded when it is used.
    command = command.load() if hasattr(command, "load") else command
    below = getattr(command, "commands", None)
    return [command] if below is None else [leaf for child in below.values() for leaf in _leaves(child)]
