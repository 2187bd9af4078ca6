"""The mutations still apply to the code, so that a refactoring notices before the mutation check fails."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace

import pytest

from tests.mutations.check import ROOT, PatchDoesNotApplyError, Ran, Verdict, WarmPytest, check, patched
from tests.mutations.declarations import MUTATIONS, Edit, Mutation

TESTS = re.compile(r"^(?:async )?def (test_\w+)|^    (?:async )?def (test_\w+)", re.MULTILINE)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_every_patch_applies_to_the_code_as_it_is_and_leaves_python(mutation):
    texts = {edit.file: (ROOT / edit.file).read_text() for edit in mutation.edits}
    for edit in mutation.edits:
        texts[edit.file] = patched(texts[edit.file], edit)
    for file, text in texts.items():
        compile(text, file, "exec")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_every_test_named_exists(mutation):
    file, *names = mutation.test.split("::")
    defined = {first or second for first, second in TESTS.findall((ROOT / file).read_text())}
    if names and not names[0].startswith("Test"):
        assert names[-1] in defined


def test_there_are_enough_mutations_and_some_are_quick():
    assert len(MUTATIONS) >= 10
    assert sum(mutation.short for mutation in MUTATIONS) >= 3
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("text", ["a = 2\n", "a = 1\na = 1\n"], ids=["gone", "twice"])
def test_a_patch_that_no_longer_applies_says_where(text):
    with pytest.raises(PatchDoesNotApplyError, match=r"some\.py contains 'a = 1'"):
        patched(text, Edit("some.py", "a = 1\n", "a = 3\n"))


def mutation(find: str = "A = 1", replace: str = "A = 2") -> Mutation:
    return Mutation("some", "It breaks.", (Edit("some.py", find, replace),), "test_some.py::test_it")


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "some.py").write_text("A = 1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("find", "unmutated", "mutated", "verdict"),
    [
        ("A = 1", 0, 1, Verdict.CAUGHT),
        ("A = 1", 0, 0, Verdict.SURVIVED),
        ("A = 1", 1, 1, Verdict.TEST_BROKEN),
        ("A = 9", 0, 1, Verdict.NOT_APPLICABLE),
        ("A = 1", 0, 2, Verdict.NOT_RUN),
        ("A = 1", 0, 5, Verdict.NOT_RUN),
    ],
)
def test_only_a_test_that_passes_without_and_fails_with_a_mutation_catches_it(tree, find, unmutated, mutated, verdict):
    def run(*_):
        return Ran(mutated if "A = 2" in (tree / "some.py").read_text() else unmutated, 0.1, "")

    (result,) = check([mutation(find)], [(tree, run)], lambda _: None)
    assert result.verdict is verdict
    assert (tree / "some.py").read_text() == "A = 1\n"


def test_a_patch_is_always_reverted(tree):
    def fail(*_):
        if "A = 2" in (tree / "some.py").read_text():
            raise RuntimeError
        return Ran(0, 0.1, "")

    with pytest.raises(RuntimeError):
        check([mutation()], [(tree, fail)], lambda _: None)
    assert (tree / "some.py").read_text() == "A = 1\n"


def test_several_trees_are_worked_on_and_results_come_in_the_order_of_the_mutations(tmp_path):
    trees = []
    for number in range(3):
        tree = tmp_path / str(number)
        tree.mkdir()
        (tree / "some.py").write_text("A = 1\n")
        trees.append((tree, lambda *_, tree=tree: Ran(int("A = 2" in (tree / "some.py").read_text()), 0.1, "")))
    mutations = [replace(mutation(), name=str(n), test=f"test_{n % 4}.py", short=n % 3 == 0) for n in range(12)]
    results = check(mutations, trees, lambda _: None)
    assert [(result.mutation, result.verdict) for result in results] == [(one, Verdict.CAUGHT) for one in mutations]


def test_pytest_itself_is_run_in_the_tree(tree):
    (tree / "test_some.py").write_text("from some import A\ndef test_it():\n    assert A == 1\n")
    with closing(WarmPytest(tree)) as run:
        (result,) = check([mutation()], [(tree, run)], lambda _: None)
    assert result.verdict is Verdict.CAUGHT
