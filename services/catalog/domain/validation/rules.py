"""Checks of a rule."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from services.catalog.domain.model import Resource, Rule, RuleAction, Skill
from services.catalog.domain.validation.fields import (
    NAME_CHARACTERS_MAX,
    Problem,
    grade_problems,
    identifier_list_problems,
    identifier_problems,
    listed,
    shown,
    text_problems,
)

RULE_RESOURCES_MAX = 1_000
RULE_PROVIDERS_MAX = 100
RULE_SKILLS_MAX = 64
RULE_CLASSES_MAX = 1_000
NOTE_CHARACTERS_MAX = 1_024
FACTOR_MIN, FACTOR_MAX = 0.1, 10.0


def check_rule(
    path: str, rule: Rule, existing_skills: Mapping[str, Skill], existing_resources: Mapping[str, Resource]
) -> list[Problem]:
    """Everything wrong with one rule, given the tenant's skills and resources; `path` as for `check_skill`."""
    return [*_rule_problems(path, rule), *_unknown_subjects(path, rule, existing_skills, existing_resources)]


def _rule_problems(path: str, rule: Rule) -> Iterator[Problem]:
    yield from identifier_problems(f"{path}.id", rule.id)
    yield from text_problems(f"{path}.author", rule.author, NAME_CHARACTERS_MAX, required=True)
    yield from text_problems(f"{path}.note", rule.note, NOTE_CHARACTERS_MAX, breaks=True)
    if rule.action is None:
        yield Problem(f"{path}.action", f"is not stated or not known; must be one of {listed(RuleAction)}")
    if not rule.resource_ids and not rule.providers:
        reason = "is empty, and so is providers: the rule is about nothing; name at least one resource or provider"
        yield Problem(f"{path}.resource_ids", reason)
    for name, values, count_max in (
        ("resource_ids", rule.resource_ids, RULE_RESOURCES_MAX),
        ("providers", rule.providers, RULE_PROVIDERS_MAX),
        ("skills", rule.skills, RULE_SKILLS_MAX),
        ("classes", rule.classes, RULE_CLASSES_MAX),
    ):
        yield from identifier_list_problems(f"{path}.{name}", values, count_max)
    yield from grade_problems(path, rule.grades)
    if rule.action is RuleAction.BOOST:
        # Written so that NaN fails.
        if rule.factor is None or not FACTOR_MIN <= rule.factor <= FACTOR_MAX:
            given = "is missing" if rule.factor is None else f"{rule.factor:g}"
            yield Problem(f"{path}.factor", f"{given}; a boost needs one from {FACTOR_MIN:g} to {FACTOR_MAX:g}")
    elif rule.factor is not None:
        yield Problem(f"{path}.factor", f"{rule.factor:g} is given, but only a boost has one; leave it out")


def _unknown_subjects(path: str, rule: Rule, skills: Collection[str], resources: Collection[str]) -> Iterator[Problem]:
    for kind, name, values, known in (
        ("resource", "resource_ids", rule.resource_ids[:RULE_RESOURCES_MAX], resources),
        ("skill", "skills", rule.skills[:RULE_SKILLS_MAX], skills),
    ):
        for place, value in enumerate(values):
            if value and value not in known:
                reason = f"{kind} {shown(value)} is not in the catalog; correct the id, or leave it out"
                yield Problem(f"{path}.{name}[{place}]", reason)
