"""Files of events: what is read, and the errors for what cannot be read."""

import gzip

import orjson
import pytest

from services.common.resource_kinds import ResourceKind
from services.common.tables import lines
from services.common.tables.lines import FileUnusableError
from services.ingest.application.ports import Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.kinds.preference import Pace, Preference
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant, Submission
from services.ingest.domain.validation import problems_of
from services.ingest.formats import Format, assistments, read_events
from services.ingest.formats.catalog_of_log import catalog_of_rows

MERGED = "user_id,seq,problem_id,skill_id,skill_name,correct,fold\n"
RAW = "order_id,user_id,problem_id,sequence_id,correct,attempt_count,ms_first_response,hint_count,skill_name\n"


@pytest.fixture
def file(tmp_path):
    def write(content, name="events"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def read(path, file_format, source=""):
    return list(read_events(path, file_format, source))


def one_problem(row):
    assert isinstance(row, UnreadableRow)
    (problem,) = row.problems
    return row.line, problem.field, problem.reason


class TestNdjson:
    def test_every_field_arrives(self, file):
        line = {
            "event_id": "e1",
            "learner_id": "ada",
            "source": "gradebook",
            "occurred_at": "2026-03-04T05:06:07.25+01:00",
            "source_sequence": "9",
            "item": "item-1",
            "activity": "quiz-1",
            "skills": ["fractions"],
            "score": {"raw": 3, "min": 0.0, "max": 4},
            "attempt": 2,
            "hints": 1,
            "duration_ms": 900,
            "grain": "item",
        }
        (row,) = read(file(orjson.dumps(line)), Format.NDJSON)
        assessment = Assessment(
            "item-1",
            "quiz-1",
            ("fractions",),
            Score(3.0, 0.0, 4.0),
            attempt=2,
            hints=1,
            duration_ms=900,
            grain=Grain.ITEM,
        )
        at = Instant(1_772_597_167, 250_000_000)
        assert row.submission == Submission("ada", "gradebook", assessment, "e1", at, "9")

    @pytest.mark.parametrize(
        ("line", "body"),
        [
            (
                {"interaction": "completed", "resource": "video-1", "recommendation_id": "r-1", "duration_ms": 9},
                Interaction("video-1", InteractionKind.COMPLETED, "r-1", 9),
            ),
            (
                {"preference": {"goals": ["a"], "interests": [], "formats": ["video", "game"], "pace": "gentle"}},
                Preference(("a",), (), (ResourceKind.VIDEO, ResourceKind.GAME), Pace.GENTLE),
            ),
            ({"preference": {"goals": []}}, Preference(goals=())),
            ({"corrects": "e1", "void": True}, Correction("e1", Void())),
            (
                {"corrects": "e1", "corrects_source": "old", "correct": False},
                Correction("e1", change=False, target_source="old"),
            ),
            ({"corrects": "e1", "score": {"raw": 1, "min": 0, "max": 2}}, Correction("e1", Score(1.0, 0.0, 2.0))),
        ],
    )
    def test_the_other_kinds_of_event_are_read(self, file, line, body):
        (row,) = read(file(orjson.dumps({"learner_id": "ada"} | line)), Format.NDJSON, source="s")
        assert row.submission == Submission("ada", "s", body)

    @pytest.mark.parametrize(
        ("line", "field", "words"),
        [
            ({"interaction": "read", "resource": "r"}, "interaction", "'opened', 'completed' or 'dismissed'"),
            (
                {"interaction": "opened", "resource": "r", "item": "i"},
                "item",
                "not a field of an event with interaction",
            ),
            ({"interaction": "opened", "resource": "r", "corrects": "e"}, "corrects", "so is interaction"),
            ({"preference": {"goal": ["a"]}}, "preference.goal", "use one of goals, interests, formats, pace"),
            ({"preference": {}, "skills": ["a"]}, "skills", "not a field of an event with preference"),
            ({"corrects": "e1", "void": True, "correct": True}, "correct", "so is void"),
            ({"item": "i", "correct": True, "resource": "r"}, "resource", "not a field of an assessment"),
            ({"item": "i", "void": True}, "void", "not a field of an assessment"),
        ],
    )
    def test_a_line_with_two_kinds_of_event_is_reported(self, file, line, field, words):
        (row,) = read(file(orjson.dumps({"learner_id": "ada"} | line)), Format.NDJSON, source="s")
        assert isinstance(row, UnreadableRow)
        assert [problem.field for problem in row.problems] == [field]
        assert words in row.problems[0].reason

    def test_absent_values_stay_absent(self, file):
        (row,) = read(file('{"learner_id":"ada","item":"i","correct":false}'), Format.NDJSON, source="gradebook")
        assert row == Row(
            1,
            Submission("ada", "gradebook", Assessment(item="i", outcome=False)),
            '{"learner_id":"ada","item":"i","correct":false}',
        )

    def test_a_compressed_file_with_empty_lines_and_a_byte_order_mark_is_read(self, file):
        content = (
            '\ufeff{"learner_id":"a","item":"i","correct":true}\r\n\r\n{"learner_id":"b","item":"i","correct":true}'
        )
        rows = read(file(gzip.compress(content.encode())), Format.NDJSON, source="s")
        assert [(row.line, row.submission.learner_id) for row in rows] == [(1, "a"), (3, "b")]

    @pytest.mark.parametrize(
        ("line", "field", "words"),
        [
            ('{"learner_id":"a","correct":true,"colour":"red"}', "colour", "use one of learner_id, source"),
            ('{"learner_id":"a","score":{"raw":1,"min":0,"max":2,"of":3}}', "score.of", "use one of raw, min, max"),
            ('{"item":"i","correct":true}', "learner_id", "is missing: add it"),
            ('{"learner_id":7,"correct":true}', "learner_id", "is 7: input should be a valid string"),
            ('{"learner_id":"a","correct":1}', "correct", "is 1: input should be a valid boolean"),
            ('{"learner_id":"a","attempt":-1}', "attempt", "is -1"),
            ('{"learner_id":"a","duration_ms":4294967296}', "duration_ms", "is 4294967296"),
            ('{"learner_id":"a","hints":1.5}', "hints", "is 1.5"),
            ('{"learner_id":"a","grain":"course"}', "grain", "'item' or 'activity'"),
            ('{"learner_id":"a","occurred_at":"2026-03-04T05:06:07"}', "occurred_at", "timezone"),
            ('{"learner_id":"a","occurred_at":"yesterday"}', "occurred_at", "yesterday"),
            ('{"learner_id":"a","correct":true,"score":{"raw":1,"min":0,"max":1}}', "score", "keep the one"),
            ('{"learner_id":"a","item":"i","correct":true,"correct":false}', "correct", "is given twice: keep"),
            ('{"learner_id":"a","item":"i","score":{"raw":1,"raw":0,"min":0,"max":1}}', "raw", "is given twice"),
            ("not json", "", "put one JSON object on each line"),
            ("[1]", "", "put one JSON object on each line"),
        ],
    )
    def test_a_line_that_is_not_an_event_is_reported(self, file, line, field, words):
        line_number, named, reason = one_problem(read(file("\n" + line + "\n"), Format.NDJSON, source="s")[0])
        assert (line_number, named) == (2, field)
        assert words.lower() in reason.lower()

    def test_nan_is_left_for_the_service_to_report(self, file):
        (row,) = read(file('{"learner_id":"a","item":"i","score":{"raw":NaN,"min":0,"max":1}}'), Format.NDJSON, "s")
        assert [problem.field for problem in problems_of(row.submission, Instant(0))] == ["assessment.score.raw"]

    def test_an_extremely_long_line_costs_one_row_and_bounded_memory(self, file):
        good = b'{"learner_id":"a","item":"i","correct":true}\n'
        rows = read(file(b"x" * (3 * lines.LINE_BYTES_MAX) + b"\n" + good), Format.NDJSON, source="s")
        assert one_problem(rows[0])[0] == 1
        assert len(rows[0].original) < 100
        assert (rows[1].line, rows[1].submission.learner_id) == (2, "a")


class TestMerged:
    def test_adjacent_rows_with_a_new_skill_are_one_response(self, file):
        content = (
            MERGED + "7,0,84805,37,Addition,0,1\n7,1,84805,54,Absolute Value,0,1\n7,2,85341,54,Absolute Value,1,1\n"
        )
        first, second = read(file(content), Format.ASSISTMENTS)
        assert first.submission == Submission(
            "7",
            "assistments2009",
            Assessment(item="84805", skills=("Addition", "Absolute Value"), outcome=False),
            source_sequence="0",
        )
        assert (second.line, second.submission.source_sequence) == (4, "2")
        assert [row["seq"] for row in first.original] == ["0", "1"]

    @pytest.mark.parametrize(
        "next_row",
        [
            "8,1,84805,54,Absolute Value,0,1",  # another learner
            "7,1,84806,54,Absolute Value,0,1",  # another problem
            "7,1,84805,54,Absolute Value,1,1",  # another answer
            "7,1,84805,37,Addition,0,1",  # the same skill: the problem was answered again
            "7,1,84805,,,0,1",  # no skill: nothing shows that it is the same response
        ],
    )
    def test_every_other_row_is_a_response_of_its_own(self, file, next_row):
        content = f"{MERGED}7,0,84805,37,Addition,0,1\n{next_row}\n"
        assert len(read(file(content), Format.ASSISTMENTS)) == 2

    def test_a_skill_repeated_within_a_response_starts_another(self, file):
        content = MERGED + "7,0,1,1,A,0,1\n7,1,1,2,B,0,1\n7,2,1,1,A,0,1\n7,3,1,2,B,0,1\n"
        rows = read(file(content), Format.ASSISTMENTS)
        assert [(row.submission.source_sequence, row.submission.body.skills) for row in rows] == [
            ("0", ("A", "B")),
            ("2", ("A", "B")),
        ]

    @pytest.mark.parametrize(
        ("row", "field", "words"),
        [
            ("7,0,84805,37,Addition,0", "", "has 6 columns, the header 7"),
            ("7,0,84805,37,Addition,yes,1", "correct", "'yes'"),
            ("7,0,84805,37,Addition,nan,1", "correct", "'nan'"),
            (",0,84805,37,Addition,1,1", "user_id", "every response needs one"),
            ("7,0,NA,37,Addition,1,1", "problem_id", "'NA'"),
            ("7,x,84805,37,Addition,1,1", "seq", "'x'"),
        ],
    )
    def test_a_malformed_row_is_named_and_the_others_count(self, file, row, field, words):
        rows = read(file(f"{MERGED}{row}\n7,1,2,3,S,1,1\n"), Format.ASSISTMENTS)
        line, named, reason = one_problem(rows[0])
        assert (line, named) == (2, field)
        assert words in reason
        assert isinstance(rows[1], Row)

    def test_a_quote_that_never_closes_is_named_with_its_lines(self, file):
        content = MERGED + '7,0,1,1,"A,0,1\n' + "7,1,2,3,S,1,1\n" * 20_000
        rows = read(file(content), Format.ASSISTMENTS)
        line, _, reason = one_problem(rows[0])
        assert line == 2
        assert "up to line" in reason
        assert isinstance(rows[-1], Row)

    def test_a_row_with_an_extremely_long_line_is_reported(self, file):
        rows = read(file(MERGED + "7" * 2_000_000 + "\n7,1,2,3,S,1,1\n"), Format.ASSISTMENTS)
        assert "columns" in one_problem(rows[0])[2]
        assert isinstance(rows[1], Row)


class TestRaw:
    def test_rows_with_the_same_order_id_are_one_response_wherever_they_are(self, file):
        content = (
            "," + RAW + "0,20,7,84805,5,1,1,900,0,Addition\n"
            "1,10,7,84806,5,0,2,-5,3,Addition\n"
            "2,20,7,84805,5,1,1,900,0,Absolute Value\n"
        )
        first, second = read(file(content), Format.ASSISTMENTS)
        assert first.submission.source_sequence == "10"
        assert first.submission.body == Assessment(
            item="84806", activity="5", skills=("Addition",), outcome=False, hints=3, duration_ms=None
        )
        assert second.submission == Submission(
            "7",
            "assistments2009",
            Assessment("84805", "5", ("Addition", "Absolute Value"), outcome=True, hints=0, duration_ms=900),
            source_sequence="20",
        )

    def test_a_different_order_id_is_another_response_even_with_a_new_skill(self, file):
        content = RAW + "1,7,84805,5,1,1,9,0,Addition\n2,7,84805,5,1,1,9,0,Fractions\n"
        assert len(read(file(content), Format.ASSISTMENTS)) == 2

    def test_partial_credit_is_points(self, file):
        rows = read(file(RAW + "1,7,8,5,0.25,1,9,0,A\n2,7,8,5,1.0,1,9,0,A\n3,7,8,5,1.5,1,9,0,A\n"), Format.ASSISTMENTS)
        outcomes = [row.submission.body.outcome for row in rows]
        assert outcomes == [Score(0.25, 0.0, 1.0), True, Score(1.5, 0.0, 1.0)]
        assert problems_of(rows[2].submission, Instant(0))

    def test_a_response_without_a_skill_keeps_its_problem(self, file):
        (row,) = read(file(RAW + "1,7,8,NA,1,1,,,NA\n"), Format.ASSISTMENTS)
        assert row.submission.body == Assessment(item="8", outcome=True)

    def test_latin_1_is_read(self, file):
        (row,) = read(file(RAW.encode() + "1,7,8,5,1,1,9,0,Aufgabe für\n".encode("latin-1")), Format.ASSISTMENTS)
        assert row.submission.body.skills == ("Aufgabe für",)

    def test_a_wrong_number_is_named(self, file):
        (row,) = read(file(RAW + "1,7,8,5,1,1,soon,0,A\n"), Format.ASSISTMENTS)
        assert one_problem(row)[1] == "ms_first_response"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("", "is empty"),
        ("user,item\n", "lacks the columns user_id, seq"),
        ("order_id,user_id\n", "lacks the columns problem_id, correct, skill_name of the ASSISTments raw export"),
        (MERGED.replace("fold", "colour"), "columns that the ASSISTments merged form does not have: colour"),
        (MERGED.replace("fold", "seq"), "repeats seq"),
    ],
)
def test_a_header_of_neither_form_is_refused(file, header, words):
    with pytest.raises(FileUnusableError, match=words):
        read(file(header), Format.ASSISTMENTS)


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(FileUnusableError, match=r"nothing\.csv cannot be read: No such file"):
        read(tmp_path / "nothing.csv", Format.NDJSON)


def test_the_error_about_a_damaged_compressed_file_names_the_last_line_read(file):
    content = gzip.compress((MERGED + "7,0,1,1,A,0,1\n" * 50_000).encode())
    with pytest.raises(FileUnusableError, match="is damaged after line"):
        read(file(content[: len(content) // 2]), Format.ASSISTMENTS)


def test_progress_in_bytes_ends_at_the_files_size(file):
    told = []
    path = file(MERGED + "7,0,1,1,A,0,1\n" * 5_000)
    list(assistments.read_assistments(path, observe_bytes=told.append))
    assert told == sorted(told)
    assert told[-1] == path.stat().st_size


def test_a_logs_catalog_is_its_problems_weighted_by_how_often_a_skill_was_named():
    def response(item, *skills):
        return Row(1, Submission("a", "s", Assessment(item=item, skills=skills, outcome=True)), None)

    rows = [response("p1", "A", "B"), response("p1", "B"), response("p2"), UnreadableRow(4, (), None)]
    assert list(catalog_of_rows(rows, framework="F")) == [
        ("skill", {"id": "A", "framework": "F", "code": "A", "statement": "A"}),
        ("skill", {"id": "B", "framework": "F", "code": "B", "statement": "B"}),
        (
            "resource",
            {
                "id": "p1",
                "title": "Problem p1",
                "kind": "practice",
                "assesses": [{"skill": "B", "weight": 1.0}, {"skill": "A", "weight": 0.5}],
                "status": "active",
            },
        ),
        (
            "resource",
            {"id": "p2", "title": "Problem p2", "kind": "practice", "assesses": [], "status": "active"},
        ),
    ]
