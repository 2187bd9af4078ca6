"""The figures of `cairn evaluate` do not depend on processor instructions, threads and hash seeds."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import orjson
import pytest

from services.common.arithmetic import fix_instructions

_CAIRN = "from services.cli import main; main()"

if not fix_instructions({}, loaded={}):
    pytest.skip("this processor lacks AVX2 or is not an x86-64 one on Linux", allow_module_level=True)

# An old processor with one core, and one that is as new as this machine has, with more.
MACHINES = (
    {"OPENBLAS_CORETYPE": "Prescott", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "1"},
    {"NPY_DISABLE_CPU_FEATURES": "", "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "2"},
)


@pytest.fixture
def responses(tmp_path):
    """30 learners work through 40 items in order, each from their own start."""
    rng = np.random.default_rng(5)
    lines = ["learner,item,skills,correct,time"]
    for learner in range(30):
        first = int(rng.integers(15))
        lines += [
            f"{learner},i{item},s{item // 8},{int(rng.random() < 0.6)},{1_700_000_000 + 1_000 * item}"
            for item in range(first, first + 25)
        ]
    (tmp_path / "responses.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def resources(tmp_path):
    """120 resources about four skills that share words, a few of them tagged wrongly."""
    rng = np.random.default_rng(3)
    with (tmp_path / "resources.jsonl").open("wb") as file:
        for number in range(120):
            skill = number % 4
            # Numbers are no words when near-duplicates are found.
            words = [f"word{'abcd'[skill]}{'uvwxyz'[rng.integers(6)]}" for _ in range(6)]
            words += [f"other{chr(ord('a') + rng.integers(20))}" for _ in range(4)]
            tagged = skill if rng.random() < 0.9 else int(rng.integers(4))
            file.write(orjson.dumps({"id": f"r{number}", "text": " ".join(words), "skills": [f"s{tagged}"]}) + b"\n")
    return tmp_path


@pytest.mark.timeout(300)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "protocol"), [("ranking", "sequences"), ("tracing", "sequences"), ("tagging", "tagged")]
)
def test_every_figure_is_the_same_bit_for_bit_on_another_machine(responses, resources, family, protocol):
    found = []
    for machine in MACHINES:
        report = responses / "report.json"
        command = ["evaluate", family, "--protocol", protocol, "--data", str(responses), "--json", str(report)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS_", "OMP_"))}
        subprocess.run(
            [sys.executable, "-c", _CAIRN, *command],
            env=environment | machine,
            check=True,
            capture_output=True,
            timeout=140,
        )
        found.append(orjson.loads(report.read_bytes()))
    for each in found:
        each.pop("elapsed_s", None)
        if family != "tagging":
            assert each["arithmetic"].startswith("BLAS Haswell; numpy ")
            assert "X86_V4" not in each["arithmetic"]
            assert "AVX512" not in each["arithmetic"]
    assert found[0]["models"]
    assert found[0] == found[1]
