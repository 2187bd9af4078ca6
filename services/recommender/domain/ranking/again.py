"""What a list says of the second and later resources of a skill, so that no sentence is repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking.evidence import Pick
from services.recommender.domain.ranking.features import EXPLAINING_KINDS
from services.recommender.domain.ranking.messages import Message, Template, message
from services.recommender.domain.ranking.reasons import Step

_ASKING_KINDS = (ResourceKind.ASSESSMENT, ResourceKind.PRACTICE)


def on_skill(pick: Pick) -> Message:
    """Says that a resource is one more on the skill it serves, which a list says of the second at the earliest."""
    return message(_IDENTIFIERS[pick.step](pick.kind), number=pick.number)


def numbered(pick: Pick, said: Message) -> Message:
    """A message that must be given although another resource of the same skill has it too."""
    return message("again.numbered", said=said, number=pick.number)


_IDENTIFIERS: Mapping[Step, Callable[[int], str]] = {
    Step.TEACH: lambda _kind: "again.teach",
    Step.PRACTISE: lambda kind: "again.explanation" if kind in EXPLAINING_KINDS else "again.practice",
    Step.REASSESS: lambda _kind: "again.check",
    Step.FIND_OUT: lambda kind: "again.find_out" if kind in _ASKING_KINDS else "again.look",
}

MESSAGES: dict[str, Template] = {
    "again.teach": "Another way to learn the same skill (resource {number} on it in this list)",
    "again.explanation": "Another explanation of the same skill (resource {number} on it in this list)",
    "again.practice": "More practice on the same skill (resource {number} on it in this list)",
    "again.check": "Another check of the same skill (resource {number} on it in this list)",
    "again.find_out": "Another way to find out about the same skill (resource {number} on it in this list)",
    "again.look": "Another look at the same skill (resource {number} on it in this list)",
    "again.numbered": "{said} (resource {number} on this skill)",
}
"""The English templates."""
