"""`python -m deploy.kubernetes [COMMAND...]`: start a cluster, run a command or a shell in it, and remove it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from deploy.kubernetes import isolation, programs
from deploy.kubernetes.cluster import Cluster
from deploy.processes import StackError

_INSIDE = "--inside"


def main(arguments: list[str]) -> int:
    """Run it and return the command's exit code; 2 if this machine lacks something."""
    if arguments[:1] == [_INSIDE]:
        return _run_inside(Path(arguments[1]), arguments[2:])
    if missing := programs.missing_tools():
        print(f"a cluster needs these, which are missing: {', '.join(missing)}", file=sys.stderr)
        return 2
    programs.build(_tell)
    with isolation.state_directory() as directory:
        this = [sys.executable, "-m", "deploy.kubernetes", _INSIDE, str(directory)]
        return isolation.run([*this, *(arguments or ["bash"])], directory)


def _run_inside(directory: Path, command: list[str]) -> int:
    isolation.enter(directory)
    cluster = Cluster(programs.folder(), directory)
    try:
        cluster.start(_tell)
        return subprocess.run(command, env=os.environ | cluster.environment, check=False).returncode
    finally:
        cluster.stop()


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except StackError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
