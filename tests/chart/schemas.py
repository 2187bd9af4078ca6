"""Strict schemas: of Kubernetes, from the library kubernetes-validate, and of custom resources, from `crds`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

CRDS = Path(__file__).parent / "crds"
# The oldest release that the chart accepts, and the one that `make test-k8s` runs.
KUBERNETES = ("1.30.0", "1.34.0")


def problems(rendered: dict[str, Any]) -> list[str]:
    """What the API server would refuse in an object, including fields that it does not know."""
    # Most objects are the same in many cases of the matrix.
    return _problems(json.dumps(rendered))


@cache
def _problems(text: str) -> list[str]:
    rendered = json.loads(text)
    schema = _custom().get((rendered["apiVersion"], rendered["kind"]))
    if schema is not None:
        found = jsonschema.Draft202012Validator(schema).iter_errors(rendered)
        return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]
    try:
        for version in KUBERNETES:
            kubernetes_validate.validate(rendered, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}"]
    return []


@cache
def _custom() -> dict[tuple[str, str], dict[str, Any]]:
    schemas = {}
    for file in CRDS.glob("*.json"):
        described = json.loads(file.read_text())
        schemas[described["apiVersion"], described["kind"]] = _strict(described["schema"])
    return schemas


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """As JSON Schema: what an object does not list is refused, as `kubectl apply` does by default."""
    strict = dict(schema)
    if strict.pop("x-kubernetes-int-or-string", False):
        strict.pop("type", None)
        strict.pop("pattern", None)
        strict["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "properties" in strict:
        strict["properties"] = {name: _strict(below) for name, below in strict["properties"].items()}
        strict.setdefault("additionalProperties", False)
    for inner in ("items", "additionalProperties"):
        if isinstance(strict.get(inner), dict):
            strict[inner] = _strict(strict[inner])
    return strict
