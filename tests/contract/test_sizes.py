"""Files, functions and constructors stay small enough to read in one go."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SERVICES = Path(__file__).parents[2] / "services"
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
PARAMETERS_MAX = 8


def sources() -> list[Path]:
    found = sorted(SERVICES.rglob("*.py"))
    assert found, f"there are no sources below {SERVICES}"
    return found


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Each function of a file with its qualified name."""

    def below(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{prefix}{child.name}", child
                yield from below(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.ClassDef):
                yield from below(child, f"{prefix}{child.name}.")
            else:
                yield from below(child, prefix)

    yield from below(ast.parse(path.read_text()), "")


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def test_no_file_is_longer_than_400_lines():
    lengths = {str(path.relative_to(SERVICES)): len(path.read_text().splitlines()) for path in sources()}
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_no_function_is_longer_than_60_lines():
    lengths = {
        f"{path.relative_to(SERVICES)}:{name}": lines_of(function)
        for path in sources()
        for name, function in functions(path)
    }
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES_MAX} == {}


def test_no_constructor_outside_the_composition_roots_takes_more_than_8_parameters():
    counts = {}
    for path in sources():
        if "bootstrap" in path.relative_to(SERVICES).parts:
            continue
        for name, function in functions(path):
            if name.endswith("__init__"):
                arguments = function.args
                every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                counts[f"{path.relative_to(SERVICES)}:{name}"] = len(every) - 1
    assert {name: count for name, count in counts.items() if count > PARAMETERS_MAX} == {}
