"""Namespaces of its own for a cluster: whatever it starts, mounts or configures ends with them, whatever happens.

The processes see each other only, and a network of their own without a way out. The folders that the container runtime
and the kubelet write to are folders of the cluster, and the kernel's settings that the kubelet changes are copies.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_NAMESPACES = ("--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc")
_FOLDERS = ("/run", "/var/lib", "/var/log")
_KERNEL_SETTINGS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_LAST_PROCESS_ENDS_S = 20.0
_POLL_S = 0.02


def run(arguments: Sequence[str], directory: Path) -> int:
    """Run a program in namespaces of its own and return its exit code; then nothing of it is left but the directory.

    Args:
        arguments: the program, which calls `enter` first, and its arguments.
        directory: an empty one for what the cluster writes; its name names the control groups.
    """
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", *_NAMESPACES, "--", *arguments])
    try:
        return process.wait()
    finally:
        # Its first process dies with it, and with that every other one.
        process.kill()
        process.wait()
        _remove_control_groups(directory.name)


def allowed() -> bool:
    """Whether this process may make the namespaces, which root of a container often may not."""
    try:
        return subprocess.run(["unshare", *_NAMESPACES, "--", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def state_directory() -> Iterator[Path]:
    """A new directory, removed in the end."""
    with tempfile.TemporaryDirectory(prefix="cairn-kubernetes-") as directory:
        yield Path(directory)


def enter(directory: Path) -> None:
    """Furnish the namespaces of this process: private folders and kernel settings, loopback, control groups."""
    for folder in _FOLDERS:
        own = directory / "system" / folder.removeprefix("/").replace("/", "-")
        own.mkdir(parents=True)
        _execute("mount", "--bind", own, folder)
    for name in _KERNEL_SETTINGS:
        setting = Path("/proc/sys") / name
        copy = directory / "system" / setting.name
        copy.write_bytes(setting.read_bytes())
        _execute("mount", "--bind", copy, setting)
    _execute("ip", "link", "set", "lo", "up")
    # Packets of a pod to a service's address pass through the node.
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
    for hierarchy in _hierarchies():
        (hierarchy / directory.name).mkdir(exist_ok=True)


def _hierarchies() -> list[Path]:
    """Where control groups are made: one folder in version 2, one of each controller in version 1."""
    if (_CONTROL_GROUPS / "cgroup.controllers").exists():
        return [_CONTROL_GROUPS]
    return [path for path in _CONTROL_GROUPS.iterdir() if (path / "cgroup.procs").exists() and not path.is_symlink()]


def _remove_control_groups(name: str) -> None:
    """Remove the groups of a cluster, once the kernel has ended the last of its processes."""
    for group in (hierarchy / name for hierarchy in _hierarchies()):
        # The kernel removes the files of a group with it; the deepest group goes first.
        for folder in [*sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True), group]:
            give_up_at = time.monotonic() + _LAST_PROCESS_ENDS_S
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > give_up_at:
                        raise
                    time.sleep(_POLL_S)


def _execute(*arguments: str | Path) -> None:
    subprocess.run(arguments, check=True)
