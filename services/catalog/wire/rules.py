"""Rules to and from their messages."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from cairn.v1 import catalog_pb2
from services.catalog.domain.model import Rule, RuleAction

_ACTIONS = {catalog_pb2.RuleAction.Value(f"RULE_ACTION_{action.name}"): action for action in RuleAction}
_ACTION_NUMBERS = {action: number for number, action in _ACTIONS.items()}

# The range of times that both a Timestamp and a datetime can represent.
_EARLIEST_S, _LATEST_S = -62_135_596_800, 253_402_300_799


def rule_from_proto(message: catalog_pb2.Rule) -> Rule:
    """A rule as it was sent, unchecked. Times are truncated to seconds and clipped to the years 1 to 9999."""
    return Rule(
        id=message.id,
        action=_ACTIONS.get(message.action),
        author=message.author,
        resource_ids=tuple(message.resource_ids),
        providers=tuple(message.providers),
        skills=tuple(message.skills),
        classes=tuple(message.classes),
        grades=tuple(message.grades),
        factor=message.factor if message.HasField("factor") else None,
        expires_at=_moment(message.expires_at) if message.HasField("expires_at") else None,
        note=message.note,
        updated_at=_moment(message.updated_at) if message.HasField("updated_at") else None,
        updated_with=message.updated_with,
    )


def rule_to_proto(rule: Rule) -> catalog_pb2.Rule:
    """The message of a rule; an unknown action becomes UNSPECIFIED."""
    return catalog_pb2.Rule(
        id=rule.id,
        action=_ACTION_NUMBERS[rule.action] if rule.action else catalog_pb2.RULE_ACTION_UNSPECIFIED,
        author=rule.author,
        resource_ids=rule.resource_ids,
        providers=rule.providers,
        skills=rule.skills,
        classes=rule.classes,
        grades=rule.grades,
        factor=rule.factor,
        expires_at=_timestamp(rule.expires_at),
        note=rule.note,
        updated_at=_timestamp(rule.updated_at),
        updated_with=rule.updated_with,
    )


def _moment(timestamp: Timestamp) -> datetime:
    return datetime.fromtimestamp(min(max(timestamp.seconds, _EARLIEST_S), _LATEST_S), UTC)


def _timestamp(moment: datetime | None) -> Timestamp | None:
    return None if moment is None else Timestamp(seconds=int(moment.timestamp()))
