"""Turns messages into sentences. All sentences of ranking and planning are written here, from a message catalogue.

The English templates of a reason are in the file that gives it; all others are below. Another language is another
`MessageCatalogue` with the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from services.recommender.domain.ranking import again, answer_record, crosswalk, recent_work_reason
from services.recommender.domain.ranking.messages import Message, Plural, Template
from services.recommender.domain.ranking.signals import SIGNALS, similar


def _plural_category_in_english(count: int) -> str:
    """The plural category of the Unicode CLDR."""
    return "one" if count == 1 else "other"


@dataclass(frozen=True, eq=False)
class MessageCatalogue:
    """The templates of one language.

    Attributes:
        templates: by message id.
        plural_category: the CLDR plural category of a count in this language.
    """

    templates: Mapping[str, Template]
    plural_category: Callable[[int], str]

    def sentence(self, message: Message) -> str:
        """The message in this language.

        Raises:
            KeyError: when the catalogue has no template for the message, or the message no value for a placeholder.
        """
        template = self.templates[message.id]
        values = {name: self.sentence(value) if isinstance(value, Message) else value for name, value in message.values}
        if isinstance(template, Plural):
            template = self._form(template, values[template.count])
        return template.format_map(values)

    def _form(self, plural: Plural, count: object) -> str:
        if not isinstance(count, int):
            raise TypeError(f"the count {plural.count!r} of a message must be an int, not {count!r}")
        if count == 0 and plural.zero is not None:
            return plural.zero
        form: str | None = getattr(plural, self.plural_category(count))
        return plural.other if form is None else form


_SHARED: Mapping[str, Template] = {
    **answer_record.MESSAGES,
    **again.MESSAGES,
    **crosswalk.MESSAGES,
    **recent_work_reason.MESSAGES,
    "days": Plural("days", one="{days} day", other="{days} days"),
    # Reasons of rules.
    "rule.pinned": "Pinned by the rule {rules}",
    "rule.boosted": Plural(
        "count",
        one="Moved up by the rule {rules}",
        other="Moved up by the rules {rules}",
    ),
    # The steps of a group's sequence.
    "step.teach": Plural(
        "learners",
        one="{chance} % likely to succeed on the skill; {met}",
        other="{learners} learners, on average {chance} % likely to succeed on the skill; {met}",
    ),
    "step.practise": Plural(
        "learners",
        one="{success} % likely to succeed on it; {met}",
        other="{learners} learners, on average {success} % likely to succeed on it; {met}",
    ),
    "step.reassess": Plural(
        "learners",
        one="shows whether the learner has it now: {success} % likely to succeed; {met}",
        other="shows who has it now: on average {success} % likely to succeed; {met}",
    ),
    "met.by_none": Plural("learners", one="new to the learner", other="new to all of them"),
    "met.by_some": Plural("count", one="new to 1 of them", other="new to {count} of them"),
    "met.by_all": Plural("learners", one="the learner worked on it before", other="all of them worked on it before"),
    # Why a learner is in no group.
    "unplaced.new_learner": "nothing is known of them yet: assess them first",
    "unplaced.all_mastered": Plural(
        "skills",
        one="the only skill they have worked on is mastered: give them something new",
        other="all {skills} skills they have worked on are mastered: give them something new",
    ),
    "unplaced.no_gap": "no gap is known in what they have worked on lately: give them something new",
    "unplaced.no_skill": "they have worked on no skill of the catalog: assess them on one",
    "unplaced.no_resource": (
        "nothing that may be given is about their gap ({skill}, {chance} % likely to succeed): "
        "add a resource, or ask for less"
    ),
    "unplaced.too_few_share": Plural(
        "groups",
        zero="no group shares their gap ({skill}, {chance} % likely to succeed): allow more groups",
        one="too few share their gap ({skill}, {chance} % likely to succeed), and there is only 1 group: "
        "allow more groups",
        other="too few share their gap ({skill}, {chance} % likely to succeed) for one of {groups} groups: "
        "allow more groups",
    ),
}

ENGLISH = MessageCatalogue(
    MappingProxyType(
        {
            **_SHARED,
            **similar.MESSAGES,
            **{key: template for signal in SIGNALS for key, template in signal.messages.items()},
        }
    ),
    _plural_category_in_english,
)


@lru_cache(maxsize=10_000)
def render(message: Message, catalogue: MessageCatalogue = ENGLISH) -> str:
    """The message as a sentence."""
    return catalogue.sentence(message)
