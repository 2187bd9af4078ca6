"""Wires the commands about dead letters. They need neither Faust nor models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.recommender.adapters.kafka.dead_letters import KafkaLetterFile
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.adapters.kafka.logged_corrections import KafkaLoggedCorrections
from services.recommender.application.operations.corrections import (
    LoggedCorrection,
    refused_corrections,
    waiting_corrections,
)
from services.recommender.application.operations.dead_letters import FiledLetter, LetterOutcome, ReplayDeadLetters
from services.recommender.bootstrap.environment import bundle_settings, fold_settings
from services.recommender.bootstrap.epochs import stored_epochs
from services.recommender.bootstrap.keys import learner_keys
from services.recommender.entrypoints.revalidation import problem_of


def letter_file(environment_file: Path, topic: str) -> KafkaLetterFile:
    """The dead letters on a topic, as commands use them. Raises SettingsError."""
    return KafkaLetterFile(bundle_settings(environment_file).connection, topic=topic)


async def corrections_pending(
    environment_file: Path, progress: Callable[[int, int], None]
) -> tuple[list[FiledLetter], list[LoggedCorrection]]:
    """For `cairn corrections pending`: the refused corrections that the current epoch lacks, and those that wait in it.

    Args:
        environment_file: settings that the environment does not set.
        progress: called with the records of the log that were read and that are to be read.
    """
    settings = fold_settings(environment_file)
    async with stored_epochs(settings.redis_url) as epochs:
        letters = await KafkaLetterFile(settings.connection).letters()
        decryptor = learner_keys(settings.connection, settings.tenants)
        try:
            log = KafkaLoggedCorrections(settings.connection, decryptor, progress)
            return refused_corrections(letters, await epochs.current()), await waiting_corrections(epochs, log)
        finally:
            await decryptor.close()


async def replay_dead_letters(
    environment_file: Path, wanted: Callable[[FiledLetter], bool], *, dry_run: bool
) -> list[LetterOutcome]:
    """Runs `cairn dlt replay`.

    Args:
        environment_file: settings that the environment does not set.
        wanted: which letters.
        dry_run: only report what would happen.
    """
    settings = bundle_settings(environment_file)
    partitions = len(await KafkaLog(settings.connection).end_offsets())
    decryptor = learner_keys(settings.connection, settings.tenants)
    try:
        replay = ReplayDeadLetters(
            KafkaLetterFile(settings.connection), lambda letter: problem_of(letter, partitions, decryptor)
        )
        return await replay(wanted, dry_run=dry_run)
    finally:
        await decryptor.close()
