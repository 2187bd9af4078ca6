"""Which rows of a table count, and which of its columns become events of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.tables import FileUnusableError
from services.ingest.application.ports import Row, UnreadableRow
from services.ingest.domain.outcome import Score
from services.ingest.formats import Format, read_events
from services.ingest.formats.mapping.model import parse_mapping
from tests.mapped_tables import mapped, problems, reasons, submissions

LONG = {"columns": {"learner_id": "who", "item": "quiz", "correct": "got"}}
WIDE = {"columns": {"learner_id": "who"}, "score_max": 10}


GRADEBOOK = {
    "columns": {"learner_id": "ID"},
    "unpivot": [{"columns": "^(?P<activity>.+) pts$"}],
    "maximum_row": {"column": "Student", "matches": "^ *Points Possible"},
}
JOIN = {"file": "items.csv", "by": {"item": "id"}, "take": {"title": "title", "most": "max"}, "delimiter": ";"}
JOINED = {"columns": {"learner_id": "student", "activity": "title", "score": "score", "score_max": "most"}}


class TestFilters:
    CONTENT = "who,quiz,got,state\na,q,1,Active\nb,q,1,toBeDeleted \nc,q,1,\nd,q,1,inactive\n"

    def learners(self, tmp_path, **keys):
        rows = mapped(tmp_path, self.CONTENT, LONG | keys)
        return [each.learner_id for each in submissions(rows)], reasons(rows)

    def test_a_row_that_meets_a_filter_of_drop_is_left_out(self, tmp_path):
        drop = [{"column": "who", "is": ["x"]}, {"column": "state", "is": "tobedeleted"}]
        assert self.learners(tmp_path, drop=drop) == (["a", "c", "d"], [(3, "drop 2 (state)")])

    def test_a_row_is_kept_only_if_it_meets_every_filter_of_keep(self, tmp_path):
        keep = [{"column": "state", "is": ["active", ""]}, {"column": "who", "matches": "[ab]"}]
        left_out = [(3, "keep 1 (state)"), (4, "keep 2 (who)"), (5, "keep 1 (state)")]
        assert self.learners(tmp_path, keep=keep) == (["a"], left_out)

    def test_the_whole_cell_must_say_the_text_and_an_expression_is_found_in_it(self, tmp_path):
        assert self.learners(tmp_path, keep=[{"column": "state", "is": "active"}])[0] == ["a"]
        assert self.learners(tmp_path, keep=[{"column": "state", "matches": "(?i)active"}])[0] == ["a", "d"]

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            ({"column": "state"}, "needs one of is and matches"),
            ({"column": "state", "is": "a", "matches": "b"}, "needs one of is and matches"),
            ({"column": "state", "matches": "("}, r"drop\.0\.matches: is '\(': is not a regular expression"),
            ({"column": "state", "is": [True]}, "put the text in quotes"),
            ({"colum": "state", "is": "a"}, "did you mean 'column'"),
            ({"column": "stat", "is": "a"}, "lacks the columns stat of the mapping"),
        ],
    )
    def test_a_filter_that_cannot_be_used_is_named(self, tmp_path, entry, words):
        with pytest.raises(FileUnusableError, match=words):
            self.learners(tmp_path, drop=[entry])


class TestUnpivot:
    def test_columns_become_events_with_what_their_names_say(self, tmp_path):
        mapping = {
            "columns": {"learner_id": "Email address"},
            "unpivot": [{"columns": r"^Q\. (?P<item>\d+) /(?P<score_max>[\d.]+)$"}],
        }
        content = "Email address,Grade/10.00,Q. 1 /5.00,Q. 2 /2.50\na@x,7.50,5.00,2\nb@x,-,-,1\n"
        rows = mapped(tmp_path, content, mapping)
        assert [(each.learner_id, each.body.item, each.body.outcome) for each in submissions(rows)] == [
            ("a@x", "1", Score(5.0, 0.0, 5.0)),
            ("a@x", "2", Score(2.0, 0.0, 2.5)),
            ("b@x", "2", Score(1.0, 0.0, 2.5)),
        ]
        assert reasons(rows) == [(3, "without an outcome")]

    def test_other_fields_come_from_columns_with_names_alike(self, tmp_path):
        mapping = {
            "columns": {"learner_id": "who", "activity": "test", "skills": "standard"},
            "unpivot": [
                {"columns": r"^goal_(?P<n>\w)_pct$", "with": {"skills": "goal_{n}", "attempt": "{0} try"}},
                {"columns": "^total$", "value": "score"},
            ],
            "scale": "percent",
        }
        content = (
            "who,test,standard,goal_a,goal_a_pct,goal_a_pct try,goal_b,goal_b_pct,goal_b_pct try,total\n"
            "p,fall,all,3.NF.A.1,80,2,,20,,50\n"
        )
        found = [(each.body.skills, each.body.outcome.raw, each.body.attempt) for each in
                 submissions(mapped(tmp_path, content, mapping))]  # fmt: skip
        assert found == [(("3.NF.A.1",), 80.0, 2), (("all",), 20.0, None), (("all",), 50.0, None)]

    def test_right_and_wrong_are_unpivoted_too(self, tmp_path):
        mapping = {"columns": {"learner_id": "who"}, "unpivot": [{"columns": "^(?P<item>q.)$", "value": "correct"}]}
        found = submissions(mapped(tmp_path, "who,q1,q2\na,1,0\n", mapping))
        assert [(each.body.item, each.body.outcome) for each in found] == [("q1", True), ("q2", False)]

    def test_a_column_belongs_to_the_first_entry_and_never_to_one_that_is_mapped(self, tmp_path):
        entries = [{"columns": "^(?P<item>q1)$"}, {"columns": "(?P<activity>.+)"}]
        found = submissions(mapped(tmp_path, "who,q1,q2\n5,1,2\n", WIDE | {"unpivot": entries}))
        assert [(each.body.item, each.body.activity) for each in found] == [("q1", ""), ("", "q2")]

    def test_a_problem_names_its_column_and_one_of_the_row_is_named_once(self, tmp_path):
        mapping = WIDE | {"unpivot": [{"columns": "^(?P<item>q.)$"}]}
        mapping["columns"] = {"learner_id": "who", "attempt": "try"}
        rows = mapped(tmp_path, "who,try,q1,q2\na,1,x,2\nb,x,1,2\nc,x,,\n", mapping)
        assert [problem[:2] for problem in problems(rows)] == [(2, "q1"), (3, "try")]
        assert reasons(rows) == [(4, "without an outcome")] * 2
        assert len(submissions([rows[1]])) == 1

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            (
                {"columns": "^z"},
                r"unpivot\.0\.columns is '\^z', which is found in no name of a column; there are who, q1",
            ),
            ({"columns": "q", "value": "scores"}, "'scores' is no field that a column may hold: did you mean 'score'"),
            ({"columns": "q", "with": {"skills": "s_{n}"}}, r"columns has no group 'n': name one as in \(\?P<n>"),
            ({"columns": "(?P<score>q)"}, "gives score twice"),
            ({"columns": "(?P<n>q)", "with": {"skills": "{n}_skill"}}, "lacks the columns q_skill"),
            ({"columns": "(?P<score_max>q)"}, "the column name gives score_max, which is 'q': it must be a number"),
            ({"columns": "q", "value": "learner_id"}, "is no field that a column may hold"),
            ({"columns": "q", "value": "correct", "with": {"score": "q"}}, "correct and score are both mapped"),
        ],
    )
    def test_an_entry_that_cannot_be_used_is_named(self, tmp_path, entry, words):
        with pytest.raises(FileUnusableError, match=words):
            mapped(tmp_path, "who,q1\n5,1\n", WIDE | {"unpivot": [entry]})


class TestMaximumRow:
    def test_a_row_holds_the_maximum_of_each_column(self, tmp_path):
        content = "Student,ID,a pts,b pts\n    Points Possible,,10,2.5\nNia,1,8,2\n"
        rows = mapped(tmp_path, content, GRADEBOOK)
        assert [each.body.outcome for each in submissions(rows)] == [Score(8.0, 0.0, 10.0), Score(2.0, 0.0, 2.5)]
        assert reasons(rows) == [(2, "maximum_row")]

    def test_it_may_come_after_learners(self, tmp_path):
        content = "Student,ID,a pts\nNia,1,8\nPoints Possible,,10\n"
        rows = mapped(tmp_path, content, GRADEBOOK)
        assert [each.body.outcome for each in submissions(rows)] == [Score(8.0, 0.0, 10.0)]

    def test_points_in_a_column_without_one_are_a_problem(self, tmp_path):
        content = "Student,ID,a pts,b pts\nPoints Possible,,10,(read only)\nNia,1,,2\n"
        ((line, column, _),) = problems(mapped(tmp_path, content, GRADEBOOK))
        assert (line, column) == (3, "b pts")

    def test_it_holds_the_maximum_of_one_score_column_too(self, tmp_path):
        mapping = {
            "columns": {"learner_id": "ID", "activity": "ID", "score": "a"},
            "maximum_row": {"column": "ID", "is": "of"},
        }
        assert submissions(mapped(tmp_path, "ID,a\nof,4\n7,3\n", mapping))[0].body.outcome == Score(3.0, 0.0, 4.0)

    def test_a_table_without_it_is_refused(self, tmp_path):
        content = "Student,ID,a pts\n" + "Nia,1,8\n" * 10 + "Points Possible,,10\n"
        with pytest.raises(FileUnusableError, match=r"none of the first 10 rows .* set score_max"):
            mapped(tmp_path, content, GRADEBOOK)


class TestJoin:
    ITEMS = "id;title;max\n1;Quiz;10\n02;Test;20\n"

    @pytest.fixture
    def read(self, tmp_path):
        def read(content, items=self.ITEMS, **keys):
            (tmp_path / "items.csv").write_text(items)
            return mapped(tmp_path, content, JOINED | {"join": [JOIN | keys]})

        return read

    def test_columns_of_a_companion_are_added_by_the_key(self, read):
        found = submissions(read("student,item,score\na,1,7\nb, 02 ,8\na,1,9\n"))
        assert [(each.learner_id, each.body.activity, each.body.outcome) for each in found] == [
            ("a", "Quiz", Score(7.0, 0.0, 10.0)),
            ("b", "Test", Score(8.0, 0.0, 20.0)),
            ("a", "Quiz", Score(9.0, 0.0, 10.0)),
        ]

    @pytest.mark.parametrize(
        ("item", "words"),
        [("2", "is '2', which items.csv lacks: add it there"), ("", "is empty, but is the key of items.csv")],
    )
    def test_a_key_that_the_companion_lacks_is_a_problem(self, read, item, words):
        ((line, column, reason),) = problems(read(f"student,item,score\na,{item},7\n"))
        assert (line, column) == (2, "item")
        assert words in reason

    def test_such_a_row_is_left_out_or_has_empty_cells_if_the_mapping_says_so(self, read, tmp_path):
        content = "student,item,score\na,2,7\n"
        assert reasons(read(content, absent="leave_out")) == [(2, "not in items.csv")]
        mapping = {"columns": {"learner_id": "student", "activity": "item", "skills": "skill", "score": "score"}}
        mapping |= {
            "join": [{"file": "items.csv", "by": {"item": "id"}, "take": ["skill"], "absent": "empty"}],
            "score_max": 9,
        }
        (tmp_path / "items.csv").write_text("id,skill\n1,s\n")
        assert [each.body.skills for each in submissions(mapped(tmp_path, content + "a,1,7\n", mapping))] == [
            (),
            ("s",),
        ]

    @pytest.mark.parametrize(
        ("items", "keys", "words"),
        [
            ("id;title;max\n1;a\n", {}, "line 2 of .*items.csv has 2 columns, the header 3"),
            ("id;title\n", {}, "items.csv lacks the column max of join; it has id, title"),
            (ITEMS, {"by": {"it": "id"}}, "lacks the columns it of the mapping"),
            (ITEMS, {"take": ["title", "id", "max"], "by": {"student": "id"}}, "lacks the columns most"),
            (ITEMS, {"take": {"score": "max"}}, "join takes score from items.csv, and .* has that column, too"),
            (ITEMS, {"file": "other.csv"}, "other.csv is missing, which the mapping joins to"),
            (ITEMS, {"absent": "skip"}, "join.0.absent: is 'skip': use 'refuse', 'leave_out' or 'empty'"),
            (ITEMS, {"on": {"item": "id"}}, "join.0.on: is not a key"),
        ],
    )
    def test_a_companion_that_cannot_be_used_is_named(self, read, items, keys, words):
        with pytest.raises(FileUnusableError, match=words):
            read("student,item,score\na,1,7\n", items, **keys)

    def test_rows_of_one_key_that_say_the_same_are_one(self, read):
        (found,) = submissions(read("student,item,score\na,1,7\n", "id;title;max\n1;Quiz;10\n1;Quiz;10\n"))
        assert (found.body.activity, found.body.outcome) == ("Quiz", Score(7.0, 0.0, 10.0))

    def test_a_key_on_which_rows_contradict_each_other_is_a_problem_of_the_rows_that_have_it(self, read):
        items = "id;title;max\n1;a;1\n1;b;2\n1;a;1\n2;c;9\n3;d;1\n3;e;1\n"
        rows = read("student,item,score\na,1,1\na,2,7\nb,1,0\n", items, absent="leave_out")
        said = (
            "is '1', which items.csv has in the lines 2 and 3 with another title, max: keep one of them, or join by "
            "more columns"
        )
        assert problems(rows) == [(2, "item", said), (4, "item", said)]
        assert [type(row) for row in rows] == [UnreadableRow, Row, UnreadableRow]

    def test_rows_of_one_key_that_differ_in_skills_give_the_key_all_of_them(self, tmp_path):
        (tmp_path / "items.csv").write_text("id,kc,max\n1,t;s,9\n1,NA,9\n1,,9\n1,u;t,9\n2,s,9\n")
        mapping = {
            "columns": {"learner_id": "who", "item": "id", "score": "got", "skills": "kc", "score_max": "max"},
            "join": [{"file": "items.csv", "by": {"id": "id"}, "take": ["kc", "max"]}],
        }
        content = "who,id,got\na,1,7\na,2,7\n"
        assert [each.body.skills for each in submissions(mapped(tmp_path, content, mapping))] == [
            ("t", "s", "u"),
            ("s",),
        ]
        # A column that also says which rows count has one value.
        kept = mapping | {"keep": [{"column": "kc", "matches": "s"}]}
        assert [line for line, *_ in problems(mapped(tmp_path, content, kept))] == [2]

    def test_a_companion_may_have_the_key_of_the_next_one_and_a_filter_may_see_it(self, tmp_path):
        (tmp_path / "users.csv").write_text("id,school\nu1,s1\nu2,s2\n")
        (tmp_path / "schools.csv").write_text("sid,zone\ns1,test\ns2,live\n")
        mapping = LONG | {
            "join": [
                {"file": "users.csv", "by": {"who": "id"}, "take": ["school"]},
                {"file": "schools.csv", "by": {"school": "sid"}, "take": ["zone"]},
            ],
            "drop": [{"column": "zone", "is": "test"}, {"column": "quiz", "is": "draft"}],
        }
        rows = mapped(tmp_path, "who,quiz,got\nu1,q,1\nu2,q,1\nnobody,draft,1\n", mapping)
        assert [each.learner_id for each in submissions(rows)] == ["u2"]
        assert reasons(rows) == [(2, "drop 1 (zone)"), (4, "drop 2 (quiz)")]


MAY_LACK = {
    "columns": {"learner_id": "who", "item": "quiz", "score": "got", "attempt": "try", "skills": ["kc", "kc2"]},
    "optional": ["try", "kc2"],
    "score_max": 9,
}


class TestOptional:
    def test_a_table_may_lack_optional_columns_and_its_cells_may_be_empty(self, tmp_path):
        (without,) = submissions(mapped(tmp_path, "who,quiz,got,kc\na,q,1,s\n", MAY_LACK))
        first, second = submissions(mapped(tmp_path, "kc2,who,quiz,got,try,kc\nt,a,q,1,2,s\n,a,q,1,,s\n", MAY_LACK))
        assert (without.body.attempt, without.body.skills) == (None, ("s",))
        assert (first.body.attempt, first.body.skills) == (2, ("s", "t"))
        assert second == without

    def test_no_other_column_may_be_missing(self, tmp_path):
        with pytest.raises(FileUnusableError, match="lacks the columns quiz of the mapping"):
            mapped(tmp_path, "who,got,kc\na,1,s\n", MAY_LACK)

    def test_a_companion_may_lack_none_but_may_bring_one(self, tmp_path):
        (tmp_path / "tries.csv").write_text("id,try\na,3\n")
        join = {"join": [{"file": "tries.csv", "by": {"who": "id"}, "take": ["try"]}]}
        (found,) = submissions(mapped(tmp_path, "who,quiz,got,kc\na,q,1,s\n", MAY_LACK | join))
        assert found.body.attempt == 3

    @pytest.mark.parametrize(
        ("columns", "optional", "words"),
        [
            ({"learner_id": "who", "score": "got"}, "try", "optional names 'try', which columns does not"),
            ({"learner_id": "who", "score": "got"}, "who", "no row can be read without its learner_id"),
            ({"learner_id": "who", "score": "got"}, ["got"], "no row can be read without its score"),
            (
                {"learner_id": "who", "score": "got", "occurred_at": ["day", "hour"]},
                "hour",
                "no row can be read without its occurred_at",
            ),
        ],
    )
    def test_what_an_event_needs_cannot_be_optional(self, tmp_path, columns, optional, words):
        with pytest.raises(FileUnusableError, match=words):
            mapped(tmp_path, "who,got\na,1\n", {"columns": columns, "optional": optional, "score_max": 9})


def test_a_problem_row_shows_every_cell_under_a_name_of_its_own(tmp_path):
    rows = mapped(tmp_path, "who,KC,KC,quiz,got\na,x,y,q,maybe\n", LONG)
    assert rows[0].original == {"who": "a", "KC": "x", "KC#2": "y", "quiz": "q", "got": "maybe"}


def test_a_companion_is_looked_for_next_to_the_table(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "items.csv").write_text("id,skill\n1,s\n")
    (folder / "table.csv").write_text("who,quiz,got\na,1,1\n")
    keys = {"join": [{"file": "items.csv", "by": {"quiz": "id"}, "take": ["skill"]}]}
    mapping = parse_mapping(LONG | keys, Path("mapping.yaml"))
    assert len(list(read_events(folder / "table.csv", Format.CSV, "s", mapping=mapping))) == 1


def test_a_row_with_too_few_cells_is_shown_as_it_is(tmp_path):
    (row,) = mapped(tmp_path, "who,quiz,got\na,q\n", LONG)
    assert row.original == ["a", "q"]
