"""A cluster of one node."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from deploy.kubernetes import control_plane, node
from deploy.kubernetes.api import Api
from deploy.kubernetes.parts import Parts
from deploy.processes import output_of

_COMMAND_DEADLINE_S = 900.0


class Cluster:
    """It lives in namespaces that `isolation.enter` furnished, and ends with them.

    Attributes:
        api: its API, as the administrator.
        configuration: how `kubectl` and `helm` reach it, as the administrator.
        address: of the node, which pods reach.
    """

    def __init__(self, programs: Path, directory: Path) -> None:
        """Args: `programs`, the folder of the programs; `directory`, as given to `isolation.enter`."""
        who = control_plane.identities(directory / "identities", node.ADDRESS, node.NAME)
        self._programs = programs
        self._parts = Parts(directory)
        self._control_plane = control_plane.ControlPlane(programs, self._parts, who, node.ADDRESS)
        self._node = node.Node(programs, self._parts, who, self.api)
        self.configuration = who.clients["administrator"]
        self.address = node.ADDRESS

    @property
    def api(self) -> Api:
        """Its API, as the administrator."""
        return self._control_plane.api

    def start(self, progress: Callable[[str], None]) -> None:
        """Start it and return once it can run pods.

        Args:
            progress: called with a line for each step that is done.

        Raises:
            ComponentFailedError: when a part exits or is not ready in time.
        """
        begun_s = time.monotonic()
        self._node.start_runtime()
        progress(f"container runtime ready after {time.monotonic() - begun_s:.1f} s")
        self._control_plane.start()
        progress(f"API server ready after {time.monotonic() - begun_s:.1f} s")
        self._node.start()
        progress(f"node ready after {time.monotonic() - begun_s:.1f} s")

    def import_image(self, archive: Path) -> None:
        """Import an image that `podman save` or `docker save` wrote."""
        self._node.import_image(archive)

    def check_running(self) -> None:
        """Raise ComponentFailedError when a part has exited."""
        self._parts.check_running()

    def stop(self) -> None:
        """Stop it. Safe to call again."""
        self._parts.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which `kubectl` and `helm` reach it."""
        return {
            "KUBECONFIG": str(self.configuration),
            "PATH": f"{self._programs}:{os.environ['PATH']}",
        }

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """The output of a `kubectl` command.

        Args:
            arguments: of the command.
            given: its standard input.

        Raises:
            StackError: when it fails; the message is its own.
        """
        return output_of(
            [self._programs / "kubectl", *arguments],
            what=f"kubectl {' '.join(arguments)}",
            environment=self.environment,
            given=given,
            timeout_s=_COMMAND_DEADLINE_S,
        )
