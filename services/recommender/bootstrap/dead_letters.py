"""Wires the commands about dead letters, which need neither Faust nor models."""

from __future__ import annotations

from collections.abc import Callable

from services.common.encryption.learner_keys import LearnerKeys
from services.common.encryption.tenant_keys import tenant_keys_in
from services.common.settings import KafkaSettings
from services.recommender.adapters.kafka.dead_letters import KafkaLetterFile
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.application.operations.corrections import pending_corrections
from services.recommender.application.operations.dead_letters import FiledLetter, LetterOutcome, ReplayDeadLetters
from services.recommender.bootstrap.stores import epoch_store
from services.recommender.entrypoints.revalidation import problem_of
from services.recommender.settings import BundleSettings, FoldSettings


def letter_file(settings: KafkaSettings) -> KafkaLetterFile:
    """The dead letters, as commands use them."""
    return KafkaLetterFile(settings.connection)


async def corrections_pending(settings: FoldSettings) -> list[FiledLetter]:
    """What `cairn corrections pending` shows: refused corrections that the epoch that is served does not honour."""
    letters = await letter_file(settings).letters()
    async with epoch_store(settings.redis) as epochs:
        return pending_corrections(letters, await epochs.current())


async def replay_dead_letters(
    settings: BundleSettings, wanted: Callable[[FiledLetter], bool], *, dry_run: bool
) -> list[LetterOutcome]:
    """What `cairn dlt replay` runs.

    Args:
        settings: where the log, the letters and the tenants' keys are.
        wanted: which letters.
        dry_run: only say what would become of them.
    """
    partitions = len(await KafkaLog(settings.connection).end_offsets())
    decryptor = LearnerKeys(settings.connection, tenant_keys_in(settings.tenants))
    try:
        replay = ReplayDeadLetters(letter_file(settings), lambda letter: problem_of(letter, partitions, decryptor))
        return await replay(wanted, dry_run=dry_run)
    finally:
        await decryptor.close()
