"""Rules of teachers and tenants about resources: pinned, blocked, or boosted.

A block makes a resource ineligible, so it always wins. A pin puts an eligible resource first. A boost multiplies its
need: scores are logarithms, to which it adds. Whether a rule has expired depends on the moment that an answer is for,
so that the same request gets the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType

import numpy as np

from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.messages import Message, message
from services.recommender.domain.ranking.policy import Eligibility
from services.recommender.domain.ranking.reasons import REASONS_MAX, Reason, ReasonKind

BOOST_SCALE = 2.6
"""What a boost adds to a score for each unit of the logarithm of its factor: the weight of need."""


class RuleAction(IntEnum):
    """What a rule does; numbered as in the contract."""

    PIN = 1
    BLOCK = 2
    BOOST = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule about some resources and all resources of some providers.

    Attributes:
        rule_id: the owner's id.
        action: the action.
        resource_ids: the resources; pins are listed in this order.
        providers: providers whose resources it also applies to.
        skills: only resources about one of these; empty: any.
        classes: only answers for one of these classes; empty: any.
        grades: only answers for one of these grades; empty: any.
        factor: the factor of a boost, above 0.
        expires_at_s: when it expires, Unix seconds; None: never.
        note: a note for people.
    """

    rule_id: str
    action: RuleAction
    resource_ids: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    grades: tuple[str, ...] = ()
    factor: float = 1.0
    expires_at_s: float | None = None
    note: str = ""

    def holds_for(self, grades: Sequence[str], as_of_s: float) -> bool:
        """Whether it applies to an answer for these grades at this moment; its classes are ignored."""
        ended = self.expires_at_s is not None and self.expires_at_s <= as_of_s
        return not ended and (not self.grades or not set(self.grades).isdisjoint(grades))


@dataclass(frozen=True, slots=True)
class Subject:
    """A rule and its rows of one catalog: its resources in their order, then the others of its providers."""

    rule: Rule
    named: tuple[int, ...]
    others: IntColumn

    @property
    def rows(self) -> IntColumn:
        """All its rows."""
        return np.concatenate((np.array(self.named, np.intp), self.others))


@dataclass(frozen=True, slots=True)
class Favour:
    """The rule that pinned a resource, and the rules that boosted it with their joint factor."""

    pinned: Rule | None = None
    boosted: tuple[Rule, ...] = ()
    factor: float = 1.0

    def added_to(self, reasons: Sequence[Reason]) -> list[Reason]:
        """The reasons, strongest first, with those of the rules: a pin comes first, a boost ranks by what it added."""
        every = list(reasons)
        if self.factor > 1.0:
            every.append(Reason(ReasonKind.BOOSTED, BOOST_SCALE * math.log(self.factor), self._boost_message()))
            every.sort(key=lambda reason: -reason.contribution)
        if self.pinned is not None:
            said = message("rule.pinned", rules=_named((self.pinned,)))
            every.insert(0, Reason(ReasonKind.PINNED, 0.0, said))
        return every[:REASONS_MAX]

    def _boost_message(self) -> Message:
        raising = [rule for rule in self.boosted if rule.factor > 1.0]
        return message("rule.boosted", count=len(raising), rules=_named(raising))


@dataclass(frozen=True)
class ActiveRules:
    """The rules that apply to one answer, ordered by id."""

    subjects: tuple[Subject, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.subjects)

    def permit(self, eligible: Eligibility) -> Eligibility:
        """Remove blocked resources."""
        blocked = [subject.rows for subject in self._of(RuleAction.BLOCK)]
        if not blocked:
            return eligible
        suitable, allowed = eligible.suitable.copy(), eligible.allowed.copy()
        for rows in blocked:
            suitable[rows] = allowed[rows] = False
        return Eligibility(suitable, allowed)

    def favoured(self, allowed: BoolColumn) -> BoolColumn | None:
        """The allowed rows that are pinned, or boosted by more than 1, which must be scored; None: there are none."""
        rows = [
            subject.rows
            for subject in self.subjects
            if subject.rule.action is RuleAction.PIN
            or (subject.rule.action is RuleAction.BOOST and subject.rule.factor > 1.0)
        ]
        if not rows:
            return None
        favoured = np.zeros(len(allowed), np.bool_)
        favoured[np.concatenate(rows)] = True
        return favoured & allowed

    def pinned(self, allowed: BoolColumn) -> list[int]:
        """Allowed rows that are pinned by id: ordered by rule id, then as in each rule; each once."""
        named = (row for subject in self._of(RuleAction.PIN) for row in subject.named)
        return [row for row in dict.fromkeys(named) if allowed[row]]

    def pinned_by_provider(self, rows: IntColumn) -> BoolColumn:
        """Which of some rows are pinned by their provider."""
        pinned = [subject.others for subject in self._of(RuleAction.PIN)]
        return np.isin(rows, np.concatenate(pinned)) if pinned else np.zeros(len(rows), np.bool_)

    def boost(self, rows: IntColumn, totals: FloatColumn) -> FloatColumn:
        """The scores of some rows with all boosts: each adds `BOOST_SCALE` times the logarithm of its factor."""
        factors = self._factors(rows)
        return totals if factors is None else totals + BOOST_SCALE * np.log(factors)

    def favour(self, rows: IntColumn) -> dict[int, Favour]:
        """The pins and boosts of some rows; rows without any are left out."""
        if not self.subjects:
            return {}
        wanted = set(rows.tolist())
        pins: dict[int, Rule] = {}
        boosts: dict[int, list[Rule]] = {}
        for subject in self.subjects:
            for row in wanted.intersection(subject.rows.tolist()):
                if subject.rule.action is RuleAction.PIN:
                    pins.setdefault(row, subject.rule)
                elif subject.rule.action is RuleAction.BOOST and subject.rule.factor != 1.0:
                    boosts.setdefault(row, []).append(subject.rule)
        factors = dict(zip(rows.tolist(), self.factors(rows).tolist(), strict=True))
        return {
            row: Favour(pins.get(row), tuple(boosts.get(row, ())), factors[row]) for row in pins.keys() | boosts.keys()
        }

    def _of(self, action: RuleAction) -> Iterable[Subject]:
        return (subject for subject in self.subjects if subject.rule.action is action)

    def _factors(self, rows: IntColumn) -> FloatColumn | None:
        factors = None
        for subject in self._of(RuleAction.BOOST):
            if subject.rule.factor != 1.0:
                factors = np.ones(len(rows)) if factors is None else factors
                factors[np.isin(rows, subject.rows)] *= subject.rule.factor
        return factors

    def factors(self, rows: IntColumn) -> FloatColumn:
        """The joint factor of the boosts of each of some rows; 1 without any."""
        factors = self._factors(rows)
        return np.ones(len(rows)) if factors is None else factors


NO_RULES = ActiveRules()


@dataclass(frozen=True)
class RuleBook:
    """A tenant's rules, looked up in one catalog once for many answers.

    Attributes:
        rules: all rules, by id.
        anywhere: rules without classes, by id.
        by_class: rules with classes, by class and id.
    """

    rules: Mapping[str, Rule] = field(default_factory=dict)
    anywhere: tuple[Subject, ...] = ()
    by_class: Mapping[str, tuple[Subject, ...]] = field(default_factory=dict)

    def active(self, class_id: str, grades: Sequence[str], as_of_s: float) -> ActiveRules:
        """The rules that apply to an answer.

        Args:
            class_id: the class that it is for; empty: none.
            grades: the grades that it is for; empty: none in particular, so rules with grades do not apply.
            as_of_s: the moment that it is for, Unix seconds.
        """
        candidates = self.anywhere
        if class_id and (of_class := self.by_class.get(class_id)):
            candidates = tuple(sorted((*candidates, *of_class), key=lambda subject: subject.rule.rule_id))
        holding = tuple(subject for subject in candidates if subject.rule.holds_for(grades, as_of_s))
        return ActiveRules(holding) if holding else NO_RULES

    def with_rule(self, catalog: CatalogColumns, rule: Rule) -> RuleBook:
        """The rules with one added, which replaces one of the same id; `catalog` is the catalog of these rules."""
        return _book({**self.rules, rule.rule_id: rule}, [*self._others(rule.rule_id), _subject(catalog, rule)])

    def without_rule(self, rule_id: str) -> RuleBook:
        """The rules without one of them."""
        return _book({name: rule for name, rule in self.rules.items() if name != rule_id}, self._others(rule_id))

    def _others(self, rule_id: str) -> list[Subject]:
        about_classes = (subject for subjects in self.by_class.values() for subject in subjects)
        by_id = {subject.rule.rule_id: subject for subject in (*self.anywhere, *about_classes)}
        return [subject for name, subject in by_id.items() if name != rule_id]


NO_RULE_BOOK = RuleBook()


def rule_book(catalog: CatalogColumns, rules: Iterable[Rule]) -> RuleBook:
    """Look up rules in a catalog. A rule whose resources are absent is kept and has no effect.

    Args:
        catalog: the catalog.
        rules: each id once.
    """
    listed = list(rules)
    return _book({rule.rule_id: rule for rule in listed}, [_subject(catalog, rule) for rule in listed])


def _book(rules: Mapping[str, Rule], subjects: Iterable[Subject]) -> RuleBook:
    anywhere: list[Subject] = []
    by_class: dict[str, list[Subject]] = {}
    for subject in sorted(subjects, key=lambda subject: subject.rule.rule_id):
        if not subject.named and not len(subject.others):
            continue
        if not subject.rule.classes:
            anywhere.append(subject)
        for class_id in dict.fromkeys(subject.rule.classes):
            by_class.setdefault(class_id, []).append(subject)
    return RuleBook(
        MappingProxyType(dict(sorted(rules.items()))),
        tuple(anywhere),
        MappingProxyType({class_id: tuple(of_class) for class_id, of_class in by_class.items()}),
    )


def _named(rules: Sequence[Rule]) -> str:
    return ", ".join(f"{rule.rule_id!r} ({rule.note})" if rule.note else repr(rule.rule_id) for rule in rules)


def _subject(catalog: CatalogColumns, rule: Rule) -> Subject:
    about = catalog.rows_about(rule.skills) if rule.skills else None
    named = [row for row in dict.fromkeys(catalog.rows_of(rule.resource_ids).tolist()) if about is None or about[row]]
    offered = [catalog.providers.rows[name] for name in rule.providers if name in catalog.providers.rows]
    others = np.setdiff1d(np.concatenate(offered), named) if offered else np.zeros(0, np.intp)
    if about is not None:
        others = others[about[others]]
    return Subject(rule, tuple(named), others.astype(np.intp))
