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
        responses: number of responses by bin; empty bins are left out of all three.
    """

    predicted: list[float]
    observed: list[float]
    responses: list[int]


@dataclass(frozen=True, slots=True)
class Check:
    """Whether the results have a property that they should have.

    Attributes:
        claim: the property, in words.
        holds: whether they have it.
        figures: the figures that show it.
        required: whether the results mean nothing without it, so that the evaluation fails.
    """

    claim: str
    holds: bool
    figures: str
    required: bool = False

    @property
    def described(self) -> str:
        """The check in words, beginning with yes or NO."""
        return f"{'yes' if self.holds else 'NO'}: {self.claim}: {self.figures}"


@dataclass(frozen=True)
class Evaluation:
    """One protocol's outcome.

    Attributes:
        protocol: its name.
        data: the data in words.
        commit: of the code; empty if unknown.
        models: measures by model; the served model is `cairn`.
        differences: `cairn` minus each other model, on the same resamples of learners.
        slices: measures by model for parts of the data, by the part's name.
        reliability: by model, if it predicts probabilities.
        checks: properties that the results should have.
        laws: by served ranking and law of a list, the lists to which the law applies (`cases`) and in how many of them
            it holds (`held`); empty where no lists were made.
        notes: notes for the reader.
        twins: near-identical learners, `found` and `left_out`; empty where the protocol has no learners.
        seeds: by purpose.
        elapsed_s: how long fitting and measuring took, by model.
        arithmetic: the processor instructions that libraries used. With others, the last digits differ.
    """

    protocol: str
    data: str
    commit: str
    models: Mapping[str, Mapping[str, Estimate]]
    differences: Mapping[str, Mapping[str, Estimate]]
    slices: Mapping[str, Mapping[str, Mapping[str, Estimate]]] = field(default_factory=dict)
    reliability: Mapping[str, Reliability] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    laws: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    twins: Mapping[str, int] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    elapsed_s: Mapping[str, float] = field(default_factory=dict)
    arithmetic: str = ""

    def as_values(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return asdict(self)


def from_json(text: bytes) -> Evaluation:
    """Parse the output of `as_json`; missing parts are empty.

    Raises:
        ValueError: when the input is not the JSON of an evaluation.
    """
    try:
        values = orjson.loads(text)
        return Evaluation(
            **{
                name: values[name]
                for name in ("protocol", "data", "commit", "laws", "twins", "seeds", "elapsed_s", "arithmetic")
                if name in values or name in {"protocol", "data", "commit"}
            },
            models=_estimates(values["models"]),
            differences=_estimates(values.get("differences", {})),
            slices={name: _estimates(models) for name, models in values.get("slices", {}).items()},
            reliability={name: Reliability(**found) for name, found in values.get("reliability", {}).items()},
            checks=tuple(Check(**found) for found in values.get("checks", ())),
            notes=tuple(values.get("notes", ())),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not the JSON of an evaluation: {error!r}") from error


def _estimates(models: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Estimate]]:
    """Estimates by model and measure; those that are null in the JSON are left out."""
    return {
        name: {measure: Estimate(**value) for measure, value in measures.items() if None not in value.values()}
        for name, measures in models.items()
    }


def as_json(evaluation: Evaluation) -> bytes:
    """Return the evaluation as JSON, with one key per line."""
    return orjson.dumps(evaluation.as_values(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
