"""The `cairn` command, which combines the commands of every service.

The module of a command is imported only when the command runs, so that `cairn --help` is fast. The help text of each
command is therefore defined here.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import MutableMapping
from importlib.metadata import version
from typing import Annotated, Any

import typer
import typer.core

from services.common.arithmetic import fix_instructions
from services.common.extras import end_without_extra

_EXAMPLE = "Example: cairn status"

# The extra of the distribution that installs every library a command can use. The other commands need no extra.
_EXTRAS = {
    "catalog": "train",
    "class": "files",
    "corrections": "recommender",
    "dlt": "recommender",
    "epoch": "recommender",
    "evaluate": "train",
    "export": "train",
    "ingest": "files",
    "learner": "recommender",
    "plan": "files",
    "replay": "worker",
    "status": "recommender",
    "train": "train",
    "tune": "train",
}

# Commands whose results are the same on every processor of a kind.
_REPRODUCIBLE = frozenset({"train", "tune", "tracing", "review", "ranking", "tagging", "closed-loop", "mastery"})


class _Root(typer.core.TyperGroup):
    """Names the extra to install when a command lacks a library."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command named by the arguments."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            name = str(ctx.invoked_subcommand)
            if name not in _EXTRAS:
                raise
            end_without_extra(error, _EXTRAS[name], f"cairn {name}")


_root = typer.Typer(cls=_Root, no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the flag's value.
    if wanted:
        typer.echo(f"cairn {version('cairn')}")
        raise typer.Exit


@_root.callback(epilog=_EXAMPLE)
def _describe(
    *,
    version_wanted: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Assessment events in, ranked learning resources with reasons out.

    The help of every command has an example, for instance `cairn ingest load --help`.
    """


class _LaterCommand(typer.core.TyperCommand):
    """A placeholder that loads the command when it is used."""

    def __init__(
        self,
        name: str,
        module: str,
        path: tuple[str, ...],
        short_help: str,
        panel: str | None,
        *,
        with_commands: tuple[_LaterCommand, ...] = (),
    ) -> None:
        """Prepare.

        Args:
            name: its name.
            module: the module whose `app` it is in.
            path: of the command below that; empty: the whole app.
            short_help: the first line of its help.
            panel: the panel of the help that lists it; None: the first one.
            with_commands: commands of other services that belong to this group.
        """
        super().__init__(name, short_help=short_help, rich_help_panel=panel)
        self.module = module
        self._path = path
        self._with_commands = with_commands

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Import the command and let it parse its arguments; typer then runs the context's command."""
        from services.common.telemetry import logs  # noqa: PLC0415 - as the command itself, not before it is needed.

        if self.name in _REPRODUCIBLE:
            # Numerical libraries are not loaded yet.
            fix_instructions()
        # Logs are not part of a command's output.
        logs.configure("critical", "console", service="cairn")
        return self.load().make_context(info_name, args, parent=parent, **extra)

    def load(self) -> Any:
        """The command itself."""
        command: Any = typer.main.get_command(importlib.import_module(self.module).app)
        if not isinstance(command, typer.core.TyperGroup):
            return command
        for name in self._path:
            commands: MutableMapping[str, Any] = command.commands
            command = commands[name]
        for later in self._with_commands:
            command.add_command(later)
        return command


_INGEST = "services.ingest.cli.ingest"
_CATALOG = "services.catalog.cli.catalog"
_TRAIN = "services.recommender.cli.train"
_EPOCHS = "services.recommender.cli.epochs"
_STATUS = "services.recommender.cli.status"
_LEARNERS = "services.recommender.cli.learners"
_PLAN = "services.recommender.cli.plan"
_SUBSCRIBE = "services.recommender.cli.subscribe"
_DEAD_LETTERS = "services.recommender.cli.dead_letters"
_CORRECTIONS = "services.recommender.cli.corrections"
_EVALUATE = "services.recommender.cli.evaluate"

_DATA = "Data in"
_ANSWERS = "Answers out"
_MODELS = "Models and derived state"
_OPERATING = "Operating"

# They read the log of events, which the recommender does, and are about the catalog.
_UNRESOLVED = _LaterCommand(
    "unresolved",
    "services.recommender.cli.unresolved",
    (),
    "Show items and activities whose responses are evidence of no skill, those with the most responses first.",
    None,
)

_PREREQUISITES = _LaterCommand(
    "prerequisites",
    "services.recommender.cli.prerequisites",
    (),
    "Show which of the catalog's prerequisites learners' responses support and contradict, and propose others.",
    None,
)

COMMANDS = (
    _LaterCommand("ingest", _INGEST, (), "Load events from files.", _DATA),
    _LaterCommand(
        "catalog",
        _CATALOG,
        (),
        "Manage skills, resources and rules.",
        _DATA,
        with_commands=(_UNRESOLVED, _PREREQUISITES),
    ),
    _LaterCommand(
        "recommend",
        _LEARNERS,
        ("recommend",),
        "List what a learner should work on next, best first, and why.",
        _ANSWERS,
    ),
    _LaterCommand(
        "class",
        _PLAN,
        ("class",),
        "Show each learner's most urgent gap, their mastery of it, and what to work on next.",
        _ANSWERS,
    ),
    _LaterCommand(
        "plan",
        _PLAN,
        ("plan",),
        "Divide a class into groups that share a gap, each with resources to learn, practise and re-assess with.",
        _ANSWERS,
    ),
    _LaterCommand(
        "subscribe",
        _SUBSCRIBE,
        ("subscribe",),
        "Print learners' lists, and print each one again whenever its contents change, until interrupted.",
        _ANSWERS,
    ),
    _LaterCommand(
        "learner", _LEARNERS, ("learner",), "Show, export, erase or repair what is known about a learner.", _ANSWERS
    ),
    _LaterCommand(
        "train",
        _TRAIN,
        ("train",),
        "Fit every tenant's models on the log and write them as a bundle. Servers load it automatically.",
        _MODELS,
    ),
    _LaterCommand(
        "tune",
        _TRAIN,
        ("tune",),
        "Choose the collaborative model that best predicts what each tenant's learners did next, then train with it.",
        _MODELS,
    ),
    _LaterCommand(
        "replay",
        _EPOCHS,
        ("replay",),
        "Fold the whole log, up to its current end, into a new epoch.",
        _MODELS,
    ),
    _LaterCommand(
        "export",
        "services.recommender.cli.export",
        (),
        "Write learner state, current lists, the log or mastery to files, for a data team.",
        _ANSWERS,
    ),
    _LaterCommand("epoch", _EPOCHS, ("epoch",), "List, compare, switch, drop, keep and restore epochs.", _MODELS),
    _LaterCommand("corrections", _CORRECTIONS, (), "Show corrections that are not in effect.", _OPERATING),
    _LaterCommand(
        "dlt", _DEAD_LETTERS, (), "Look at records that could not be applied, and try them again.", _OPERATING
    ),
    _LaterCommand(
        "status",
        "services.recommender.cli.status",
        (),
        "Show the running processes, their addresses and their progress.",
        _OPERATING,
    ),
    _LaterCommand("topics", "services.cli.topics", (), "Create, check and repartition the Kafka topics.", _OPERATING),
    _LaterCommand("keys", "services.cli.keys", (), "Create, list, rotate and revoke API keys.", _OPERATING),
)


# `cairn evaluate`: combines commands of several services.
EVALUATIONS = (
    _LaterCommand(
        "tracing",
        _EVALUATE,
        ("tracing",),
        "Measure how well the models predict the responses of unseen learners.",
        _MODELS,
    ),
    _LaterCommand(
        "review",
        _EVALUATE,
        ("review",),
        "Measure how well it is predicted what learners still know on a later day.",
        _MODELS,
    ),
    _LaterCommand(
        "ranking",
        _EVALUATE,
        ("ranking",),
        "Measure how well rankings predict what learners work on next.",
        _MODELS,
    ),
    _LaterCommand(
        "closed-loop",
        _EVALUATE,
        ("closed-loop",),
        "Measure how much simulated learners learn when a policy decides what they work on next.",
        _MODELS,
    ),
    _LaterCommand(
        "mastery",
        _EVALUATE,
        ("mastery",),
        "Measure intervals and mastery with simulated learners, whose true chances are known.",
        _MODELS,
    ),
    _LaterCommand(
        "tagging",
        "services.catalog.cli.evaluate",
        (),
        "Measure the skill tagger on resources held out from training.",
        _MODELS,
    ),
)


def root() -> Any:
    """The root command with every other below it."""
    group: Any = typer.main.get_command(_root)
    group.add_command(
        typer.core.TyperGroup(
            name="evaluate",
            commands={str(command.name): command for command in EVALUATIONS},
            help="Measure the models on a data set, by a fixed protocol, with intervals.",
            rich_markup_mode="markdown",
            rich_help_panel=_MODELS,
            no_args_is_help=True,
        )
    )
    for command in COMMANDS:
        group.add_command(command)
    return group


def main() -> None:
    """Run the command line of this process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding lacks is shown with escapes, and ends no command.
            stream.reconfigure(errors="backslashreplace")
    root()(prog_name="cairn")
