"""Rules in a YAML or JSON file: one or a list of them, with the field names of `cairn/v1/catalog.proto`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from services.catalog.domain.model import Rule, RuleAction
from services.catalog.formats.jsonl import FileUnreadableError
from services.common.repeated_keys import load_yaml

_SHOWN_CHARACTERS_MAX = 80
_PROBLEMS_SHOWN = 10


class RulesInvalidError(ValueError):
    """A file has invalid rules; the message names the fields, the values and the remedy."""


def _whole_seconds(moment: AwareDatetime) -> AwareDatetime:
    return moment.replace(microsecond=0)


# YAML reads ids that look like numbers as numbers.
_Text = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]


class _RuleEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: _Text
    action: RuleAction
    author: _Text
    resource_ids: list[_Text] = []
    providers: list[_Text] = []
    skills: list[_Text] = []
    classes: list[_Text] = []
    grades: list[_Text] = []
    factor: float | None = None
    expires_at: Annotated[AwareDatetime, AfterValidator(_whole_seconds)] | None = None
    note: str = ""

    def rule(self) -> Rule:
        return Rule(
            id=self.id,
            action=self.action,
            author=self.author,
            resource_ids=tuple(self.resource_ids),
            providers=tuple(self.providers),
            skills=tuple(self.skills),
            classes=tuple(self.classes),
            grades=tuple(self.grades),
            factor=self.factor,
            expires_at=self.expires_at,
            note=self.note,
        )


_ENTRIES = TypeAdapter(list[_RuleEntry])


def read_rules(path: Path) -> list[Rule]:
    """Read a file of rules.

    Raises:
        FileUnreadableError: when it cannot be read, or is neither YAML nor JSON.
        RulesInvalidError: when it has something other than valid rules.
    """
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileUnreadableError(f"{path} cannot be read ({error.strerror}); name a file you may read") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileUnreadableError(f"{path} is neither YAML nor JSON: {error}") from error
    try:
        entries = _ENTRIES.validate_python(content if isinstance(content, list) else [content])
    except ValidationError as error:
        problems = [_problem(entry) for entry in error.errors(include_url=False)]
        if len(problems) > _PROBLEMS_SHOWN:
            problems = [*problems[:_PROBLEMS_SHOWN], f"and {len(problems) - _PROBLEMS_SHOWN} more"]
        raise RulesInvalidError(f"{path} has no valid rules:\n  " + "\n  ".join(problems)) from error
    return [entry.rule() for entry in entries]


def rule_as_columns(rule: Rule) -> dict[str, Any]:
    """A rule in the form that `read_rules` reads, without the fields that have their default."""
    columns = {}
    for field in fields(rule):
        value = getattr(rule, field.name)
        if value != field.default:
            columns[field.name] = value.isoformat() if field.name in {"expires_at", "updated_at"} else value
    return columns | {"action": str(rule.action or "")}


def _problem(entry: Any) -> str:
    place, *steps = entry["loc"] or (0,)
    field = ".".join(str(step) for step in steps)
    if entry["type"] == "extra_forbidden":
        return f"rule {place}: {field} is not a known column; known are {', '.join(_RuleEntry.model_fields)}"
    if entry["type"] == "missing":
        return f"rule {place}: {field} is missing; give one"
    shown = repr(entry["input"])[:_SHOWN_CHARACTERS_MAX]
    return f"rule {place}: {field + ' ' if field else ''}{shown}: {entry['msg'][0].lower()}{entry['msg'][1:]}"
