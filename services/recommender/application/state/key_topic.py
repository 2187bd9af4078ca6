"""Whether the topic of learners' keys still holds the keys that an epoch was folded with."""

from __future__ import annotations

from collections.abc import Iterable

from services.common.encryption.values import KeyTopicSeen
from services.common.kafka.envelope import LEARNER_KEYS
from services.recommender.application.ports.epochs import EpochMeta
from services.recommender.application.ports.log import KeyTopic
from services.recommender.application.state.epochs import EpochUnusableError


def check_keys(meta: EpochMeta, now: KeyTopicSeen) -> None:
    """Refuse a topic of keys that lost what the epoch saw on it.

    It is as before if it is the same topic and not shorter. A topic that was restored from a copy has another identity
    and other offsets; it is accepted if at least as many learners have a key on it.

    Raises:
        EpochUnusableError: when keys are missing.
    """
    before = meta.keys
    if before is None or now.learners >= before.learners:
        return
    if now.identity == before.identity and now.end >= before.end:
        # The others were erased.
        return
    changed = "ends earlier than before" if now.identity == before.identity else "was recreated"
    raise EpochUnusableError(
        f"the topic {LEARNER_KEYS} {changed} and holds keys of {now.learners:,} learners, where epoch {meta.epoch} saw "
        f"{before.learners:,}: records of the others can no longer be read. Restore the topic from a copy, before "
        "ingest creates new keys; or go on without these records: stop ingest, run cairn replay --epoch NUMBER "
        "--parameters same --accept-lost-keys, and switch to that epoch"
    )


async def check_keys_of_log(metas: Iterable[EpochMeta], log_identity: str, keys: KeyTopic) -> None:
    """Compare the topic of keys with what the epochs of a log saw on it; reads it only if one of them saw it.

    Raises:
        EpochUnusableError: when keys are missing.
        TopicMissingError: when the topic does not exist.
    """
    saw_keys = [meta for meta in metas if meta.keys is not None and meta.log_identity == log_identity]
    if saw_keys:
        now = await keys.look()
        for meta in saw_keys:
            check_keys(meta, now)
