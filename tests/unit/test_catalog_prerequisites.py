"""The prerequisite graph: every cycle is found, and writing order never shows a reader a broken graph."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from services.catalog.domain.prerequisites import cycles, requirements_first

NODES = "abcdefg"
graphs = st.dictionaries(st.sampled_from(NODES), st.lists(st.sampled_from(NODES), unique=True, max_size=4))


def is_acyclic(graph):
    left = {node: set(required) & set(graph) for node, required in graph.items()}
    while ready := {node for node, required in left.items() if not required}:
        left = {node: required - ready for node, required in left.items() if node not in ready}
    return not left


def test_a_cycle_is_named_in_full():
    assert cycles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}) == [["a", "b", "c", "a"]]


def test_a_skill_that_requires_itself_is_a_cycle():
    assert cycles({"a": ["a"]}) == [["a", "a"]]


def test_two_paths_to_one_skill_are_not_a_cycle():
    assert cycles({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}) == []


def test_a_chain_longer_than_the_recursion_limit_is_walked():
    chain = {str(n): [str(n + 1)] for n in range(20_000)}
    assert cycles(chain) == []
    assert cycles(chain | {"20000": ["0"]})[0][-1] == "0"


@settings(deadline=None)
@given(graphs)
def test_a_graph_has_cycles_exactly_when_it_cannot_be_ordered(graph):
    assert (cycles(graph) == []) == is_acyclic(graph)


@settings(deadline=None)
@given(graphs)
def test_each_named_cycle_runs_along_edges_back_to_its_start(graph):
    for cycle in cycles(graph):
        assert cycle[0] == cycle[-1]
        assert all(required in graph[node] for node, required in pairwise(cycle))


@settings(deadline=None)
@given(graphs)
def test_removing_the_closing_edges_removes_every_cycle(graph):
    closing = {(cycle[-2], cycle[-1]) for cycle in cycles(graph)}
    rest = {node: [r for r in required if (node, r) not in closing] for node, required in graph.items()}
    assert is_acyclic(rest)


@settings(deadline=None)
@given(graphs)
def test_the_order_has_every_key_once_after_its_prerequisites(graph):
    order = requirements_first(graph)
    assert sorted(order) == sorted(graph)
    if is_acyclic(graph):
        for node, required in graph.items():
            assert all(order.index(r) < order.index(node) for r in required if r in graph)


@settings(deadline=None)
@given(graphs, graphs, st.integers(0, 7))
def test_a_half_written_change_of_an_acyclic_graph_is_acyclic(before, change, written):
    after = before | change
    if not (is_acyclic(before) and is_acyclic(after)):
        return
    changed = [node for node in requirements_first(after) if node in change]
    assert is_acyclic(before | {node: change[node] for node in changed[:written]})
