"""What a list says of the second and later resources of a skill, so that no sentence is repeated."""

from __future__ import annotations

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking.evidence import Pick
from services.recommender.domain.ranking.messages import Message, Template, message

_EXPLAINING_KINDS = (ResourceKind.LESSON, ResourceKind.VIDEO)


def on_skill(pick: Pick, skill: str) -> Message:
    """Says that a resource is one more on the skill, which a list says of the second at the earliest."""
    if pick.kind in _EXPLAINING_KINDS:
        identifier = "again.explanation"
    else:
        identifier = "again.check" if pick.kind == ResourceKind.ASSESSMENT else "again.practice"
    return message(identifier, skill=skill, number=pick.number)


def numbered(pick: Pick, said: Message) -> Message:
    """A message that must be given although another resource of the same skill has it too."""
    return message("again.numbered", said=said, number=pick.number)


MESSAGES: dict[str, Template] = {
    "again.explanation": "{skill}: another explanation, number {number} on it in this list",
    "again.practice": "{skill}: more practice, number {number} on it in this list",
    "again.check": "{skill}: another check, number {number} on it in this list",
    "again.numbered": "{said} (number {number} on this skill)",
}
"""The English templates."""
