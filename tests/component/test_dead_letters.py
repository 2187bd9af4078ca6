"""Dead letters: replayed once if they can be applied by now, and found by their original position."""

from __future__ import annotations

import pytest

from services.common.encryption.values import ERASED
from services.common.kafka.envelope import Position
from services.recommender.application.operations.dead_letters import (
    FiledLetter,
    LetterMissingError,
    ReplayDeadLetters,
    find_letter,
)
from services.recommender.application.ports.log import DeadLetter
from services.recommender.entrypoints.revalidation import problem_of
from tests.learner_events import PARTITIONS, Record, message, record


class MemoryLetterFile:
    """Letters and a log in lists."""

    def __init__(self, *letters: DeadLetter) -> None:
        self.filed = {Position(letter.partition, letter.offset): FiledLetter(letter) for letter in letters}
        self.log: list[DeadLetter] = []

    async def letters(self):
        return [self.filed[place] for place in sorted(self.filed)]

    async def append_to_log(self, letter):
        self.log.append(letter)
        return Position(0, 99 + len(self.log))

    async def note_replayed(self, letter, position):
        self.filed[Position(letter.partition, letter.offset)] = FiledLetter(letter, position)


def letter(offset: int, made: Record) -> DeadLetter:
    return DeadLetter(0, offset, made.key, made.value, made.headers, "partition", "it is on the wrong one")


class Unencrypted:
    """Decrypts: values are plain, except those of an erased learner."""

    async def load_keys(self, records):
        return None

    def decrypt(self, record_key, value, headers):
        return ERASED if ("erased", b"") in headers else value


GOOD = letter(7, record(message(1)))
BAD = letter(3, record(message(2), value=b"\xff\xff"))


def replaying(file: MemoryLetterFile) -> ReplayDeadLetters:
    return ReplayDeadLetters(file, lambda one: problem_of(one, PARTITIONS, Unencrypted()))


async def test_applicable_letters_are_replayed_and_the_rest_stays_with_the_reason():
    file = MemoryLetterFile(GOOD, BAD)
    bad, good = await replaying(file)(lambda _: True)
    assert file.log == [GOOD]
    assert (good.position, good.problem) == (Position(0, 100), "")
    assert bad.position is None
    assert bad.problem.startswith("value: ")


async def test_a_letter_of_an_erased_learner_stays():
    made = record(message(4))
    made.headers.append(("erased", b""))
    file = MemoryLetterFile(letter(9, made))
    (outcome,) = await replaying(file)(lambda _: True)
    assert file.log == []
    assert "its learner was erased" in outcome.problem


async def test_a_letter_is_replayed_once():
    file = MemoryLetterFile(GOOD)
    await replaying(file)(lambda _: True)
    assert await replaying(file)(lambda _: True) == []
    assert file.log == [GOOD]


async def test_a_dry_run_changes_nothing():
    file = MemoryLetterFile(GOOD)
    (outcome,) = await replaying(file)(lambda _: True, dry_run=True)
    assert (outcome.position, outcome.problem, file.log) == (None, "", [])


async def test_only_the_selected_letters_are_replayed():
    file = MemoryLetterFile(GOOD, letter(8, record(message(3))))
    await replaying(file)(lambda filed: filed.origin == Position(0, 8))
    assert [one.offset for one in file.log] == [8]


async def test_a_letter_is_found_by_its_position_and_the_error_for_a_missing_one_names_the_list_command():
    file = MemoryLetterFile(GOOD)
    assert (await find_letter(file, Position(0, 7))).letter == GOOD
    with pytest.raises(LetterMissingError, match="cairn dlt list"):
        await find_letter(file, Position(0, 8))
