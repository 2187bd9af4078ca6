"""Golden values: kept as JSON, compared number by number."""

from __future__ import annotations

import json
import math
from pathlib import Path

FOLDER = Path(__file__).parent
RELATIVE = 1e-9
LINE = 160
# Below this, numbers are equal: a contribution of 0 may be rounded either way.
ABSOLUTE = 1e-12

# Fields that hold sentences for people. Their words may change, so they are left out.
SENTENCES = frozenset(
    {
        "cairn.v1.Reason.text",
        "cairn.v1.PlanStep.reason",
        "cairn.v1.UnplacedLearner.text",
        "cairn.v1.FieldProblem.reason",
        "cairn.v1.CatalogProblem.reason",
        "cairn.v1.LearnerProblem.message",
    }
)
# Fields that differ on every run by design: only whether they are set is kept.
OPAQUE = frozenset(
    {
        "cairn.v1.EventResult.freshness_token",
        "cairn.v1.DeleteLearnerResponse.freshness_token",
    }
)


def stored(name):
    """The golden values of that name."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def store(name, values):
    """Replace the golden values of that name."""
    (FOLDER / f"{name}.json").write_text(_written(values) + "\n")


def plain(message):
    """A Protobuf message as JSON values, without sentences; enums by their names."""
    found = {}
    for field, value in message.ListFields():
        if field.full_name in SENTENCES:
            continue
        if field.full_name in OPAQUE:
            found[field.name] = "set"
        elif field.is_repeated and field.message_type is not None:
            found[field.name] = [plain(each) for each in value]
        elif field.is_repeated:
            found[field.name] = [_scalar(field, each) for each in value]
        elif field.message_type is not None:
            found[field.name] = plain(value)
        else:
            found[field.name] = _scalar(field, value)
    return found


def differences(expected, actual, path=""):
    """Where two values differ, one line each; floats are equal within a relative tolerance of 1e-9."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        lines = []
        for key in sorted(expected.keys() | actual.keys()):
            where = f"{path}.{key}"
            if key not in actual:
                lines.append(f"{where}: is missing, was {expected[key]!r}")
            elif key not in expected:
                lines.append(f"{where}: is {actual[key]!r}, was not there")
            else:
                lines += differences(expected[key], actual[key], where)
        return lines
    if isinstance(expected, list) and isinstance(actual, list | tuple):
        if len(expected) != len(actual):
            return [f"{path}: has {len(actual)} entries, had {len(expected)}: {actual!r}, was {expected!r}"]
        lines = []
        for place, (was, now) in enumerate(zip(expected, actual, strict=True)):
            lines += differences(was, now, f"{path}[{place}]")
        return lines
    if isinstance(expected, float) or isinstance(actual, float):
        same = (
            isinstance(expected, int | float)
            and isinstance(actual, int | float)
            and math.isclose(expected, actual, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
        )
    else:
        same = type(expected) is type(actual) and expected == actual
    return [] if same else [f"{path}: is {actual!r}, was {expected!r}"]


def check(expected, actual):
    """Fail with every difference."""
    lines = differences(expected, actual)
    assert not lines, "differs from the golden values:\n" + "\n".join(lines[:40])


def _scalar(field, value):
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return value.hex() if isinstance(value, bytes) else value


def _written(value, indent=""):
    """JSON with one line for whatever fits into one, so that a change is seen where it is."""
    line = json.dumps(value, sort_keys=True, ensure_ascii=False)
    if len(indent) + len(line) <= LINE or not isinstance(value, dict | list | tuple):
        return line
    inner = indent + " "
    if isinstance(value, dict):
        parts = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {_written(each, inner)}"
            for key, each in sorted(value.items())
        ]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _written(each, inner) for each in value) + f"\n{indent}]"
