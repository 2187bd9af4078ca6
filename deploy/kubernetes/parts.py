"""The running programs of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy.processes import Child, Command


class Parts:
    """Programs, in the order in which they were started.

    Attributes:
        directory: of their logs.
    """

    def __init__(self, directory: Path) -> None:
        """Args: `directory`, of their logs."""
        self.directory = directory
        self._children: list[Child] = []

    def start(self, name: str, arguments: Sequence[str]) -> Child:
        """Start a program.

        Args:
            name: its name for people and of its log.
            arguments: the program and its arguments.
        """
        child = Child(Command(name, arguments, self.directory / f"{name}.log", grace_s=5.0))
        self._children.append(child)
        return child

    def check_running(self) -> None:
        """Raise ComponentFailedError when one has exited."""
        for child in self._children:
            child.check_running()

    def stop(self) -> None:
        """Stop them, the last first. Pods run on until the namespaces end. Safe to call again."""
        for child in reversed(self._children):
            child.stop()
