"""Numerical libraries use the same instructions on every machine."""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from services.cli import _REPRODUCIBLE, COMMANDS, EVALUATIONS
from services.common.arithmetic import fix_instructions
from services.recommender.models.collaborative import families

NEW = "processor\t: 0\nflags\t\t: fpu sse4_2 fma avx avx2 avx512f\nprocessor\t: 1\nflags\t\t: fpu\n"


@pytest.fixture
def cpu_info(tmp_path):
    def write(text):
        (tmp_path / "cpuinfo").write_text(text)
        return tmp_path / "cpuinfo"

    return write


def test_on_a_processor_with_avx2_nothing_newer_is_used_whatever_the_environment_says(cpu_info):
    environment = {"OPENBLAS_CORETYPE": "SkylakeX", "PATH": "/bin"}
    assert fix_instructions(environment, loaded={"sys": None}, cpu_info=cpu_info(NEW))
    assert environment["OPENBLAS_CORETYPE"] == "Haswell"
    assert {"AVX512F", "AVX512_SKX", "X86_V4"} <= set(environment["NPY_DISABLE_CPU_FEATURES"].split())
    assert environment["PATH"] == "/bin"


@pytest.mark.parametrize(
    "text",
    ["flags : fpu sse4_2 avx\n", "flags : avx2\n", "Features : fp asimd avx2 fma\n", "", "model name : avx2 fma\n"],
)
def test_on_another_processor_libraries_choose_themselves(cpu_info, text):
    environment = {}
    assert not fix_instructions(environment, loaded={}, cpu_info=cpu_info(text))
    assert environment == {}


def test_where_the_processor_is_not_described_libraries_choose_themselves(tmp_path):
    environment = {}
    assert not fix_instructions(environment, loaded={}, cpu_info=tmp_path / "nothing")
    assert environment == {}


def test_once_numpy_is_loaded_nothing_changes(cpu_info):
    environment = {}
    assert not fix_instructions(environment, loaded={"numpy": None}, cpu_info=cpu_info(NEW))
    assert environment == {}


def test_the_commands_that_fit_or_measure_are_reproducible():
    assert {str(command.name) for command in (*COMMANDS, *EVALUATIONS)} >= _REPRODUCIBLE
    assert {str(command.name) for command in EVALUATIONS} <= _REPRODUCIBLE


def test_ease_is_computed_by_one_thread(monkeypatch):
    threads = []

    def model(_positives, *, regularization):
        threads.extend(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")

    monkeypatch.setattr(families, "EaseModel", model)
    with threadpool_limits(2, user_api="blas"):
        families.FAMILIES["ease"].fit(None, 1, {"regularization": 1.0})
    assert set(threads) == {1}
