"""Learners in the rows of files: several ids of one learner, and learners who are left out."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.learners.ids import comparable_id
from services.common.learners.suppression import Suppression, learner_hash
from services.common.learners.suppression_file import add_to_suppression, read_suppression
from services.common.tables import FileUnusableError
from services.ingest.application.people import Aliases, People, PeopleCounts
from services.ingest.application.ports import Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.submission import Submission
from services.ingest.formats.aliases import read_aliases

ADA = "id,sis,mail,platform\n4711,S-1,Ada@school.org,p-ada\n4712,S-2,ben@school.org,p-ben\n"


def rows_of(*learner_ids):
    return [
        Row(line, Submission(learner_id, "s", Assessment(item="q", outcome=True)), None)
        for line, learner_id in enumerate(learner_ids, start=2)
    ]


def learners_of(people, *learner_ids, counts=None):
    found = people.of(rows_of(*learner_ids), PeopleCounts() if counts is None else counts)
    return [row.submission.learner_id for row in found]


@pytest.fixture
def table(tmp_path):
    def write(content, name="people.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Ada@School.org", "ada@school.ORG", True),
        (" 4711 ", "4711", True),
        ("Jose\u0301", "Jos\u00e9", True),
        ("S-1", "s-1", False),
        ("@Ada", "@ada", False),
        ("Ada@", "ada@", False),
        ("Ada@b@c", "ada@b@c", False),
        ("Ada Lace@b", "ada lace@b", False),
    ],
)
def test_ids_are_compared_normalised_and_only_addresses_without_regard_to_case(one, other, same):
    assert (comparable_id(one) == comparable_id(other)) == same


@pytest.mark.parametrize(
    "content",
    [
        ADA,
        ADA.replace(",", ";"),
        ADA.encode("utf-16"),
        "id,alias\n4711,S-1\n4711,ADA@school.org\n4711,p-ada\n4712,S-2\n4712,ben@school.org\n4712,\n,\n4712,p-ben\n",
    ],
    ids=["columns", "semicolons", "utf-16", "pairs"],
)
def test_a_learner_under_three_ids_is_one_learner(table, content):
    people = People(read_aliases(table(content)))
    counts = PeopleCounts()
    sent = ("S-1", "ada@School.org", " p-ada", "4711", "S-2", "eve", " eve")
    assert learners_of(people, *sent, counts=counts) == ["4711", "4711", "4711", "4711", "4712", "eve", " eve"]
    assert counts.unmatched == {"eve"}


def test_an_id_in_a_parquet_column_of_numbers_is_the_number_without_a_fraction(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"id": [4711, 4712], "sis": [17.0, None]}), tmp_path / "people.parquet")
    aliases = read_aliases(tmp_path / "people.parquet")
    assert aliases.learners == {"4711": "4711", "17": "4711", "4712": "4712"}
    pq.write_table(pa.table({"id": [1.5], "sis": ["a"]}), tmp_path / "people.parquet")
    with pytest.raises(FileUnusableError, match=r"column 'id' is 1\.5, which is no id: store the column as text"):
        read_aliases(tmp_path / "people.parquet")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name,mail\nA,a@b\n", "has the columns name, mail: it needs a column id"),
        ("id\n4711\n", "it needs a column id, which has the id to use, and a column for each other"),
        ("id,sis\n,S-1\n", "line 2 of .* has no id: fill it in"),
        ("id,sis\n1,S-1\n2,S-1\n", "'S-1' in column 'sis' in line 3 .* learner '2', and in line 2 of '1'"),
        ("id,sis\n1,2\n2,S-2\n", "'2' in column 'id' in line 3 .* learner '2', and in line 2 of '1'"),
        ("id,mail\n1,a@b\n2,A@B\n", "'A@B' in column 'mail' in line 3"),
        ("id,sis\n1,S-1,x\n", "line 2 of .* has 3 columns, the header 2"),
        ("id,sis\n1,S\u200b1\n", "line 2 of .* column 'sis' has the .* U\\+200B ZERO WIDTH SPACE at position 1"),
        ("id,sis\n1," + 257 * "x" + "\n", "has 257 characters; an id has at most 256"),
        ("", "has no line 1 with a header"),
    ],
)
def test_aliases_that_cannot_be_used_are_refused_with_line_and_remedy(table, content, said):
    with pytest.raises(FileUnusableError, match=said):
        read_aliases(table(content))


_IDS = st.sampled_from(["1", "2", "A@b", "a@B", "S-1", " S-1", "Jose\u0301", "Jos\u00e9", "eve", "@", ""])
_PAIRS = st.lists(st.tuples(_IDS, _IDS), max_size=8)


@given(_PAIRS, st.lists(_IDS, max_size=8))
def test_aliases_applied_twice_are_applied_once(tmp_path_factory, pairs, sent):
    path = tmp_path_factory.mktemp("aliases") / "people.csv"
    path.write_text("id,alias\n" + "".join(f'"{one}","{other}"\n' for one, other in pairs), encoding="utf-8")
    try:
        people = People(read_aliases(path))
    except FileUnusableError:
        return
    once = learners_of(people, *sent)
    assert learners_of(people, *once) == once


def test_unmatched_ids_are_noted_once_with_their_first_line_and_unreadable_rows_are_passed_on():
    noted = []
    people = People(Aliases({"s-1": "1"}))
    broken = UnreadableRow(9, (), None)
    rows = [*rows_of("eve", "s-1", "eve ", ""), broken]
    assert [row.line for row in people.of(rows, PeopleCounts(), lambda *found: noted.append(found))] == [2, 3, 4, 5, 9]
    assert noted == [("eve", 2)]


def test_without_aliases_ids_stay_and_none_is_unmatched():
    counts = PeopleCounts()
    assert learners_of(People(suppression=Suppression()), "eve", " Ada@b", counts=counts) == ["eve", " Ada@b"]
    assert counts == PeopleCounts()


@pytest.mark.parametrize("listed", ["4711", "S-1", "ada@SCHOOL.org"])
def test_a_learner_is_left_out_under_every_id_when_any_of_them_is_listed(table, listed):
    aliases = read_aliases(table(ADA))
    people = People(aliases, read_suppression(table(f"{listed}\n", "suppressed.txt")))
    counts = PeopleCounts()
    assert learners_of(people, "4711", "S-1", "p-ada", "S-2", counts=counts) == ["4712"]
    assert (counts.suppressed, counts.unmatched) == (3, set())


@pytest.mark.parametrize("aliases", [None, Aliases({"4711": "4711"})], ids=["none", "of others"])
def test_a_learner_without_aliases_is_left_out_by_the_id_of_the_file(aliases):
    counts = PeopleCounts()
    people = People(aliases, Suppression(ids=frozenset({"ada@b"})))
    assert learners_of(people, "Ada@b", "eve", " ada@B", counts=counts) == ["eve"]
    assert counts.suppressed == 2
    assert "Ada@b" not in counts.unmatched


@pytest.mark.parametrize(
    "content",
    [
        "ada\nEve@b\n",
        "learner\nada\neve@b\n",
        "name;student\nA;ada\nE;EVE@b\n",
        b"\xff\xfe" + "ada\neve@b\n".encode("utf-16-le"),
    ],
)
def test_a_list_of_learners_to_leave_out_is_a_column_of_ids(table, content):
    suppression = read_suppression(table(content))
    assert [learner in suppression for learner in ("ada", "eve@b", "Eve@B", "Ada", "ben", "learner")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_list_of_several_columns_must_name_the_one_of_the_ids(table):
    with pytest.raises(FileUnusableError, match="has the columns a, b, and none of learner, learner_id"):
        read_suppression(table("a,b\n1,2\n"))


def test_an_extended_list_holds_hashes_for_its_owner_alone_and_no_id(tmp_path):
    path = tmp_path / "suppressed.csv"
    assert [add_to_suppression(path, learner) for learner in ("ada", "Eve@b", " ada ", "eve@B", "ben")] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    header, *lines = path.read_text().splitlines()
    assert header == "suppression_key,learner_hash"
    ((key, _), *_) = pairs = [line.split(",") for line in lines]
    assert pairs == [[key, learner_hash(key, learner)] for learner in ("ada", "eve@b", "ben")]
    suppression = read_suppression(path)
    assert [learner in suppression for learner in ("ada", "EVE@b", "ben", "cleo")] == [True, True, True, False]


def test_lists_made_on_two_machines_can_be_put_together(tmp_path):
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    add_to_suppression(one, "ada")
    add_to_suppression(other, "ben")
    one.write_text(one.read_text() + other.read_text().splitlines()[1])
    assert add_to_suppression(one, "cleo")
    suppression = read_suppression(one)
    assert [learner in suppression for learner in ("ada", "ben", "cleo", "eve")] == [True, True, True, False]


def test_the_hash_of_an_id_is_that_of_the_standard():
    # HMAC-SHA256 of RFC 4231, test case 2, whose text has no form of its own.
    assert learner_hash("Jefe", "what do ya want for nothing?") == "5bdcc146bf60754e6a042426089575c7"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("ada\nben\n", "its first line is not suppression_key,learner_hash: name another file"),
        ("suppression_key,learner_hash\nada,ben\n", "line 2 of .* is not a key and a hash of 32 hexadecimal digits"),
        (b"\xff\xff\n", "cannot be used as a list of learners to leave out"),
    ],
)
def test_a_list_of_another_kind_is_not_extended(table, content, said):
    path = table(content)
    before = path.read_bytes()
    with pytest.raises(FileUnusableError, match=said):
        add_to_suppression(path, "cleo")
    assert path.read_bytes() == before
