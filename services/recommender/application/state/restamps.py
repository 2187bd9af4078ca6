"""The skills with which an epoch stamps events again: fixed when it is begun, kept with it, and read by every fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from services.recommender.application.ports.catalog import CatalogTagsReader
from services.recommender.application.ports.epochs import EpochMeta, EpochRestamp, EpochStore
from services.recommender.application.state.epochs import EpochUnusableError
from services.recommender.domain.learner.restamp import (
    AssessedSkills,
    Restamp,
    RestampedEvents,
    assessed_skills_id,
)


async def restamp_of(store: EpochStore, meta: EpochMeta) -> Restamp | None:
    """How folds into an epoch stamp events again; None: they do not.

    Raises:
        EpochUnusableError: when the store has lost the skills.
    """
    if meta.restamp is None:
        return None
    assessed = await store.restamp_skills(meta.epoch)
    if assessed is None or assessed_skills_id(assessed) != meta.restamp.skills_id:
        raise EpochUnusableError(
            f"epoch {meta.epoch} takes skills from the catalog of version {meta.restamp.version}, and the state store "
            "has lost them: restore the epoch from a snapshot (cairn epoch restore), or replay into another one with "
            "the catalog of now (cairn replay --restamp) and switch to it"
        )
    return Restamp(meta.restamp.events, assessed, meta.restamp.before)


async def restamp_to_train_with(
    store: EpochStore, log_identity: str, ends: Mapping[int, int]
) -> tuple[EpochRestamp, Restamp] | None:
    """How the next replay stamps events again if nothing is said about it: as the current epoch does; None: not.

    Args:
        store: the epochs.
        log_identity: the log.
        ends: where it ends.

    Raises:
        EpochUnusableError: when the store has lost the skills of the current epoch.
    """
    number = await store.current_epoch()
    current = None if number is None else await store.get(number)
    stamped, skills = await new_restamp(store, None, None, current, log_identity, ends)
    return None if stamped is None or skills is None else (stamped, Restamp(stamped.events, skills, stamped.before))


async def new_restamp(
    store: EpochStore,
    catalog: CatalogTagsReader | None,
    events: RestampedEvents | None,
    current: EpochMeta | None,
    log_identity: str,
    ends: Mapping[int, int],
) -> tuple[EpochRestamp | None, AssessedSkills | None]:
    """How an epoch that is begun stamps events again, and the skills to keep with it.

    Args:
        store: the epochs.
        catalog: the catalog of now; not read unless `events` says so.
        events: which events take skills from it; None: as in the current epoch, with its skills.
        current: the current epoch, if there is one.
        log_identity: the log that the epoch folds.
        ends: where the log ends.

    Raises:
        EpochUnusableError: when the store has lost the skills of the current epoch.
        ConnectionError: when the catalog cannot be read.
    """
    if events is None:
        kept = None if current is None else await restamp_of(store, current)
        if current is None or current.restamp is None or kept is None:
            return None, None
        if current.log_identity == log_identity:
            # Later events were folded as they are stamped, and a replay equals the live fold.
            return current.restamp, kept.assessed
        return replace(current.restamp, before=dict(ends)), kept.assessed
    if events is RestampedEvents.NONE:
        return None, None
    if catalog is None:
        raise AssertionError("the catalog is needed to stamp events again")
    # Read after the end of the log, it is not older than what any of these events was stamped with.
    tags = await catalog.read()
    skills_id = assessed_skills_id(tags.assessed)
    return EpochRestamp(events, tags.resources_offset, tags.skills_offset, skills_id, dict(ends)), tags.assessed
