"""The results of an evaluation, and their formats: JSON for programs, one self-contained page for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from services.recommender.evaluation.intervals import Estimate

SERVED = "cairn"


@dataclass(frozen=True)
class Reliability:
    """Predicted against observed success of one model, in bins of equal width.

    Attributes:
        predicted: mean chance by bin.
        observed: share of successes by bin.
        responses: how many, by bin; bins without any are left out of all three.
    """

    predicted: list[float]
    observed: list[float]
    responses: list[int]


@dataclass(frozen=True)
class Evaluation:
    """One protocol's outcome.

    Attributes:
        protocol: its name.
        data: what it was run on, in words.
        commit: of the code; empty when not known.
        models: measures by model; the one that is served is `cairn`.
        differences: by how much `cairn` is above each other model, on the same draws of learners.
        slices: measures by model for parts of the data, by the part's name.
        reliability: by model, where probabilities are predicted.
        notes: what a reader must know.
        seeds: by what they decide.
        elapsed_s: how long fitting and measuring took, by model.
    """

    protocol: str
    data: str
    commit: str
    models: Mapping[str, Mapping[str, Estimate]]
    differences: Mapping[str, Mapping[str, Estimate]]
    slices: Mapping[str, Mapping[str, Mapping[str, Estimate]]] = field(default_factory=dict)
    reliability: Mapping[str, Reliability] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seeds: Mapping[str, int] = field(default_factory=dict)
    elapsed_s: Mapping[str, float] = field(default_factory=dict)

    def as_values(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return asdict(self)


def from_json(text: bytes) -> Evaluation:
    """The inverse of `as_json`; what a report leaves out is empty.

    Raises:
        ValueError: when it is not the JSON of an evaluation.
    """
    try:
        values = orjson.loads(text)
        return Evaluation(
            **{
                name: values[name]
                for name in ("protocol", "data", "commit", "seeds", "elapsed_s")
                if name in values or name in {"protocol", "data", "commit"}
            },
            models=_estimates(values["models"]),
            differences=_estimates(values.get("differences", {})),
            slices={name: _estimates(models) for name, models in values.get("slices", {}).items()},
            reliability={name: Reliability(**found) for name, found in values.get("reliability", {}).items()},
            notes=tuple(values.get("notes", ())),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not the JSON of an evaluation: {error!r}") from error


def _estimates(models: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Estimate]]:
    """Estimates by model and measure; one that could not be taken is null there and absent here."""
    return {
        name: {measure: Estimate(**value) for measure, value in measures.items() if None not in value.values()}
        for name, measures in models.items()
    }


def as_json(evaluation: Evaluation) -> bytes:
    """The evaluation as JSON, one key a line."""
    return orjson.dumps(evaluation.as_values(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
