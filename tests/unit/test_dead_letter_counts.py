"""Dead letters counted by reason, tenant and age."""

from __future__ import annotations

from services.common.kafka.envelope import Position
from services.recommender.application.operations.dead_letter_counts import DeadLetterCounts
from services.recommender.application.operations.dead_letters import FiledLetter
from services.recommender.application.ports.log import DeadLetter
from services.recommender.wire.dead_letters import headers_of_letter, note_headers, read_letter

KEY = b"north/LEARNER"
NOW_S = 1_000_000_000.0
HOUR_S = 3_600.0


def letter(offset: int, *, key: bytes | None = KEY, code: str = "field", partition: int = 0) -> FiledLetter:
    return FiledLetter(DeadLetter(partition, offset, key, b"value", (), code, "a reason"))


def note(offset: int) -> FiledLetter:
    return FiledLetter(letter(offset, code="").letter, replayed_to=Position(0, 99))


def counted(*letters: FiledLetter, age_s: float = 60.0) -> DeadLetterCounts:
    counts = DeadLetterCounts()
    for offset, filed in enumerate(letters):
        counts.add(Position(0, offset), filed, NOW_S - age_s)
    return counts


def totals(counts: DeadLetterCounts) -> dict[tuple[str, str], int]:
    return {(group.reason, group.tenant): group.letters for group in counts.groups(NOW_S)}


def test_letters_are_counted_by_reason_and_tenant():
    counts = counted(letter(1), letter(2), letter(3, code="value"), letter(4, key=b"south/LEARNER"))
    assert totals(counts) == {("field", "north"): 2, ("field", "south"): 1, ("value", "north"): 1}
    assert counts.letters == 4


def test_a_key_that_names_no_tenant_counts_under_none():
    keys = [None, b"", b"\xff\xff", b"no-slash", b"North/LEARNER", b"a b/LEARNER", b"x" * 64 + b"/LEARNER"]
    counts = counted(*(letter(offset, key=key) for offset, key in enumerate(keys)))
    assert totals(counts) == {("field", ""): len(keys)}


def test_each_letter_is_in_one_age_band_and_the_oldest_and_newest_times_are_kept():
    counts, ages_h = DeadLetterCounts(), [0.5, 1.0, 1.5, 24.0, 25.0, 7 * 24.0, 200.0, -0.1]
    for offset, age_h in enumerate(ages_h):
        counts.add(Position(0, offset), letter(offset), NOW_S - age_h * HOUR_S)
    (group,) = counts.groups(NOW_S)
    assert group.by_age == {"hour": 3, "day": 2, "week": 2, "older": 1}
    assert (group.oldest_at_s, group.newest_at_s) == (NOW_S - 200 * HOUR_S, NOW_S + 0.1 * HOUR_S)


def test_a_letter_that_is_on_the_topic_twice_counts_once():
    assert totals(counted(letter(7), letter(7), letter(7, partition=1))) == {("field", "north"): 2}


def test_a_record_that_is_read_again_changes_nothing():
    counts = counted(letter(1), letter(2))
    counts.add(Position(0, 1), letter(3), NOW_S)
    assert counts.letters == 2


def test_a_letter_that_was_replayed_no_longer_counts_even_if_it_comes_again():
    assert totals(counted(letter(1), letter(2), note(1), letter(1))) == {("field", "north"): 1}


def test_a_group_without_letters_is_removed():
    assert counted(letter(1), note(1)).groups(NOW_S) == []


def test_partitions_that_others_count_are_forgotten_and_counted_from_the_start_when_they_come_back():
    counts = counted(letter(1), letter(2))
    counts.add(Position(3, 5), letter(9, partition=2), NOW_S)
    counts.keep_only([3])
    assert counts.letters == 1
    counts.add(Position(0, 0), letter(1), NOW_S)
    assert counts.letters == 2


def test_a_letter_reads_back_as_it_was_written_whatever_headers_the_record_had():
    written = DeadLetter(2, 71, b"north/L", b"v", (("ce_id", b"1"), ("cairn-dlt-code", b"forged")), "value", "broken")
    read = read_letter(b"north/L", b"v", headers_of_letter(written, "log"))
    assert (read.letter.code, read.letter.reason, read.origin) == ("value", "broken", Position(2, 71))
    assert read.letter.headers == (("ce_id", b"1"),)
    assert read.replayed_to is None
    assert read_letter(b"north/L", None, note_headers(written, "log", Position(1, 80))).replayed_to == Position(1, 80)


def test_records_that_are_no_letters_of_ours_count_each_without_a_reason():
    foreign = read_letter(b"north/L", b"v", [("cairn-dlt-offset", b"-4x"), ("cairn-dlt-partition", b"")])
    assert foreign.origin == Position(-1, -1)
    assert totals(counted(foreign, foreign)) == {("", "north"): 2}
