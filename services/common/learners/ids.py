"""When two ids that people wrote down are the same learner's."""

from __future__ import annotations

from services.common.auth.identity import normalised_id


def comparable_id(learner_id: str) -> str:
    """The form in which ids of lists and tables are compared: normalised, and an e-mail address in lower case.

    A mail server may tell `Ada@` from `ada@`; no school's does, and exports of one school spell addresses both ways.
    The log does tell them apart, so an id is compared in this form but never stored in it.
    """
    learner_id = normalised_id(learner_id)
    name, at, domain = learner_id.partition("@")
    is_address = name and at and domain and "@" not in domain and not any(map(str.isspace, learner_id))
    return learner_id.lower() if is_address else learner_id
