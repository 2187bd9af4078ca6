"""Who installs what: a program finds every library it loads in its extra, and names the extra when it does not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from services.cli import _EXTRAS, COMMANDS, EVALUATIONS

ROOT = Path(__file__).parents[2]
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_CLIENT = tomllib.loads((ROOT / "protos" / "pyproject.toml").read_text())["project"]

# What runs in a role beyond the commands: processes, and modules that commands load when they need them.
_MODULES = {
    "": (
        "cairn.client",
        "services.catalog.cli.rules",
        "services.catalog.cli.edit",
        "services.common.learners.tables",
    ),
    "files": ("services.ingest.formats.proposal", "pyarrow.parquet"),
    "ingest": ("services.ingest.__main__",),
    "openedx": ("services.ingest.openedx",),
    "catalog": ("services.catalog.__main__", "services.catalog.tagging.store"),
    "recommender": (
        "services.recommender.__main__",
        "services.recommender.bootstrap.lag",
        "services.recommender.bootstrap.server",
        "services.recommender.bootstrap.status",
        "services.recommender.bootstrap.dead_letters",
        "services.recommender.bootstrap.personal",
    ),
    "worker": ("services.recommender.__main__", "services.recommender.bootstrap.worker"),
    "train": (
        "services.recommender.bootstrap.export",
        "services.recommender.bootstrap.stores",
        "services.recommender.models.collaborative.families",
        "services.recommender.models.ranker.training",
        "services.recommender.models.tracing.fit",
        "services.recommender.evaluation.tracing",
        "services.recommender.evaluation.ranking",
        "services.catalog.tagging.evaluation",
        "services.catalog.tagging.untagged",
        "services.catalog.formats.responses",
    ),
}


def libraries_of(extra: str) -> set[str]:
    """The distributions that `pip install cairn[extra]` installs, by canonical name."""
    extras = _PROJECT["optional-dependencies"]
    waiting = [Requirement(line) for line in _PROJECT["dependencies"] + (extras[extra] if extra else [])]
    found: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name == "cairn":
            waiting += [Requirement(line) for each in requirement.extras for line in extras[each]]
            continue
        if name in found:
            continue
        found.add(name)
        lines = _CLIENT["dependencies"] if name == "cairn-client" else requires(name) or []
        further = [Requirement(line) for line in lines]
        waiting += [each for each in further if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


def run_with(extra: str, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that can import what an extra installs, and nothing else."""
    installed = libraries_of(extra) | {"cairn", "cairn-client"}
    missing = {
        module
        for module, distributions in packages_distributions().items()
        if not installed & {canonicalize_name(name) for name in distributions}
    }
    blocker = (
        "import sys\n"
        f"missing = {missing!r}\n"
        "class OnlyWhatIsInstalled:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in missing:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, OnlyWhatIsInstalled())\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        # Python imports this first, also in the processes that the program starts.
        (Path(folder) / "sitecustomize.py").write_text(blocker)
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{folder}:{ROOT}:{ROOT / 'protos'}"},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )


def cairn(extra: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_with(extra, "from services.cli import main\nmain()\n", *arguments)


def run_process(extra: str, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = f"import runpy\nrunpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
    return run_with(extra, program, *arguments)


@pytest.mark.parametrize("extra", _MODULES)
def test_a_role_loads_with_the_libraries_of_its_extra(extra):
    commands = [command for command in COMMANDS if _EXTRAS.get(command.name, "") == extra]
    commands += EVALUATIONS if _EXTRAS["evaluate"] == extra else ()
    modules = sorted({*_MODULES[extra], *(command.module for command in commands)})
    done = run_with(extra, f"import importlib\nfor module in {modules!r}:\n    importlib.import_module(module)\n")
    assert done.returncode == 0, done.stderr


def test_a_platform_installs_no_library_that_folds_fits_or_serves():
    heavy = {"faust-streaming", "implicit", "lightgbm", "numba", "numpy", "pyarrow", "redis", "scikit-learn", "scipy"}
    assert not libraries_of("") & heavy
    assert not libraries_of("server") & {"faust-streaming", "implicit", "lightgbm", "pyarrow"}
    assert not libraries_of("ingest") & heavy - {"redis"}
    assert not libraries_of("catalog") & {"numba", "faust-streaming", "implicit", "lightgbm", "pyarrow"}
    assert not libraries_of("recommender") & {"faust-streaming", "implicit", "lightgbm", "scikit-learn", "scipy"}
    assert not libraries_of("worker") & {"implicit", "lightgbm", "pyarrow", "scikit-learn", "scipy"}
    assert "faust-streaming" not in libraries_of("train")


def test_every_server_can_be_installed_with_one_extra():
    assert libraries_of("server") == libraries_of("ingest") | libraries_of("catalog") | libraries_of("recommender")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("train",), "train"),
        (("evaluate", "ranking", "--help"), "train"),
        (("export", "--help"), "train"),
        (("evaluate", "tagging", "--help"), "train"),
        (("replay", "--epoch", "2", "--parameters", "same"), "worker"),
        (("status",), "recommender"),
        (("epoch", "list"), "recommender"),
        (("learner", "export", "ada", "--tenant", "riverbend"), "recommender"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_a_command_whose_library_is_missing_names_the_extra_to_install(arguments, extra):
    done = cairn("", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"cairn {arguments[0]} needs ")
    assert done.stderr.endswith(f'which is not installed: pip install "cairn[{extra}]"\n')


def test_a_parquet_file_without_pyarrow_names_the_extra_to_install(tmp_path):
    (tmp_path / "events.parquet").write_bytes(b"PAR1")
    done = cairn("", "ingest", "mapping", "--sample", str(tmp_path / "events.parquet"))
    assert done.returncode == 2
    assert done.stderr == 'cairn ingest needs pyarrow, which is not installed: pip install "cairn[files]"\n'


@pytest.mark.parametrize(
    ("process", "extra"),
    [
        (("services.ingest",), "ingest"),
        (("services.ingest.openedx",), "openedx"),
        (("services.catalog",), "catalog"),
        (("services.recommender", "server"), "recommender"),
        (("services.recommender", "lag"), "recommender"),
        (("services.recommender", "worker"), "worker"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_a_process_whose_library_is_missing_names_the_extra_to_install(process, extra):
    module, *arguments = process
    done = run_with(
        "", f"import runpy\nrunpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n", *arguments
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.endswith(f'which is not installed: pip install "cairn[{extra}]"\n')


def test_the_worker_without_faust_names_the_worker():
    done = run_process("server", "services.recommender", "worker")
    assert done.returncode == 2
    assert 'pip install "cairn[worker]"' in done.stderr
