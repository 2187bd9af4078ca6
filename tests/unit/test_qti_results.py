"""What QTI results mean, and that any bytes get an answer."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.common.tables import FileUnusableError
from services.common.xml_documents import XmlUnusableError, root_of
from services.ingest.application.ports import FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant
from services.ingest.formats import qti_results
from services.ingest.formats.qti_results import read_qti_results, rows_of

NAMESPACE = "http://www.imsglobal.org/xsd/imsqti_result_v2p1"


def outcome(name: str, value: object, attributes: str = "") -> str:
    return f'<outcomeVariable identifier="{name}" {attributes}><value>{value}</value></outcomeVariable>'


def response(name: str, value: object) -> str:
    return (
        f'<responseVariable identifier="{name}" cardinality="single"><candidateResponse><value>{value}</value>'
        "</candidateResponse></responseVariable>"
    )


SCORED = outcome("SCORE", 3) + outcome("MAXSCORE", 4)


def item(content: str = SCORED, attributes: str = 'sessionStatus="final"', identifier: str = "q4") -> str:
    named = f'identifier="{identifier}" datestamp="2026-03-14T10:20:30.500Z"'
    return f"<itemResult {named} {attributes}>{content}</itemResult>"


def report(content: str, context: str = '<context sourcedId="7"/>', namespace: str = f'xmlns="{NAMESPACE}"') -> str:
    return f"<assessmentResult {namespace}>{context}{content}</assessmentResult>"


def rows(document: str | bytes) -> list[FileRow]:
    content = document.encode() if isinstance(document, str) else document
    return list(rows_of(root_of([content]), "tao", 1))


def taken(document: str) -> Row:
    (row,) = rows(document)
    assert isinstance(row, Row), row
    return row


def body(document: str) -> Assessment:
    found = taken(document).submission.body
    assert isinstance(found, Assessment)
    return found


def test_an_item_with_a_score_is_an_outcome_of_the_candidate() -> None:
    test = '<testResult identifier="quiz-12" datestamp="2026-03-14T10:30:00Z">' + SCORED + "</testResult>"
    content = test + item(SCORED + response("numAttempts", 2) + response("duration", "30.5"))
    left_out, row = rows(report(content))
    assert left_out == LeftOutRow(1, "QTI: results of a test whose items are reported")
    assert isinstance(row, Row)
    assert (row.submission.learner_id, row.submission.source) == ("7", "tao")
    assert row.submission.occurred_at == Instant(1_773_483_630, 500_000_000)
    assert row.submission.body == Assessment(
        item="q4", activity="quiz-12", outcome=Score(3, 0, 4), attempt=2, duration_ms=30_500, grain=Grain.ITEM
    )


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [("30.5", 30_500), ("PT1M5.385S", 65_385), ("inf", None), ("nan", None), ("soon", None)],
)
def test_a_duration_is_in_seconds_or_in_iso_8601(written: str, milliseconds: int | None) -> None:
    assert body(report(item(SCORED + response("duration", written)))).duration_ms == milliseconds


def test_a_test_without_items_is_an_outcome_of_the_activity() -> None:
    found = body(report(f'<testResult identifier="quiz-12" datestamp="2026-03-14T10:30:00Z">{SCORED}</testResult>'))
    assert (found.item, found.activity, found.grain) == ("", "quiz-12", Grain.ACTIVITY)


@pytest.mark.parametrize(
    "variables",
    [
        outcome("SCORE", 3) + outcome("MAXSCORE", 4),
        outcome("SCORE", 3) + outcome("NORMALMAXSCORE", 4),
        outcome("SCORE", "3.0", 'normalMaximum="4"'),
        outcome("score", 3) + outcome("maxScore", 4) + outcome("NORMALMAXSCORE", 9),
        outcome("SCORE", 3) + outcome("MINSCORE", 0) + outcome("MAXSCORE", 4),
    ],
)
def test_the_maximum_is_found_where_it_is(variables: str) -> None:
    assert body(report(item(variables))).outcome == Score(3, 0, 4)


@pytest.mark.parametrize("namespace", ["", 'xmlns="http://www.imsglobal.org/xsd/imsqti_result_v2p2"', 'xmlns="urn:x"'])
def test_the_namespace_makes_no_difference(namespace: str) -> None:
    assert body(report(item(), namespace=namespace)).outcome == Score(3, 0, 4)


def test_names_may_be_written_with_hyphens() -> None:
    spelt = report(item()).replace("assessmentResult", "qti:assessment-result").replace("sourcedId", "sourced-id")
    spelt = spelt.replace("itemResult", "qti:item-result").replace("outcomeVariable", "qti:outcome-variable")
    spelt = spelt.replace("<context", "<qti:context").replace("value>", "qti:value>").replace("xmlns", "xmlns:qti")
    assert body(spelt).outcome == Score(3, 0, 4)


@pytest.mark.parametrize(
    "context",
    [
        '<context sourcedId="7"><sessionIdentifier sourceID="urn:s" identifier="1"/></context>',
        "<context><identifiedUser>7</identifiedUser></context>",
        '<context><identifiedUser sourcedId="7" name="Ada Byron"/></context>',
    ],
)
def test_the_candidate_is_found_where_it_is(context: str) -> None:
    row = taken(report(item(), context))
    assert row.submission.learner_id == "7"
    assert "Ada" not in repr(row)


def test_several_reports_may_be_in_one_element() -> None:
    content = report(item()) + report(item(), '<context sourcedId="8"/>')
    found = rows(f"<results>{content}</results>")
    assert [row.submission.learner_id for row in found if isinstance(row, Row)] == ["7", "8"]


@pytest.mark.parametrize(
    ("text", "attempt"),
    [("1", 1), ("4294967295", 4_294_967_295), ("4294967296", None), ("two", None), ("9" * 5_000, None)],
)
def test_only_a_number_counts_attempts(text: str, attempt: int | None) -> None:
    assert body(report(item(SCORED + response("numAttempts", text)))).attempt == attempt


def test_a_long_value_is_shown_in_part() -> None:
    (row,) = rows(report(item(outcome("SCORE", "x" * 61) + outcome("MAXSCORE", 4))))
    assert isinstance(row, UnreadableRow)
    assert row.problems[0].reason == f"is {'x' * 60 + '...'!r}: send a number"


def test_a_time_without_an_offset_is_in_utc() -> None:
    document = report(item()).replace("10:20:30.500Z", "10:20:30.500")
    assert taken(document).submission.occurred_at == Instant(1_773_483_630, 500_000_000)


@pytest.mark.parametrize(("raw", "kept"), [(5, 4.0), (-1, 0.0)])
def test_points_beyond_the_scale_count_as_its_end(raw: int, kept: float) -> None:
    assert body(report(item(outcome("SCORE", raw) + outcome("MAXSCORE", 4)))).outcome == Score(kept, 0, 4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (item(""), "QTI: results without a variable SCORE"),
        (item(outcome("SCORE", 3)), "QTI: scores without a maximum"),
        (item(outcome("SCORE", 0) + outcome("MAXSCORE", 0)), "QTI: ungraded, the maximum is not above the minimum"),
        (item(attributes='sessionStatus="pendingResponseProcessing"'), "QTI: items that are not scored yet"),
        (item(SCORED + outcome("completionStatus", "not_attempted")), "QTI: items that were not attempted"),
        (item(SCORED + response("numAttempts", 0)), "QTI: items that were not attempted"),
        ("", "QTI: reports without results"),
    ],
)
def test_what_has_no_outcome_is_left_out_and_says_why(content: str, reason: str) -> None:
    assert rows(report(content)) == [LeftOutRow(1, reason)]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (report(item(), context=""), "context"),
        (report(item(), context="<context/>"), "context.sourcedId"),
        (report(item(identifier="")), "itemResult[0].identifier"),
        (report(item(outcome("SCORE", "three") + outcome("MAXSCORE", 4))), "itemResult[0].SCORE"),
        (report(item(outcome("SCORE", "nan") + outcome("MAXSCORE", 4))), "itemResult[0].SCORE"),
        (report(item(outcome("SCORE", 3) + outcome("MAXSCORE", "four"))), "itemResult[0].MAXSCORE"),
        (report(item()).replace("2026-03-14T", "14 March "), "itemResult[0].datestamp"),
        ("<questestinterop/>", ""),
    ],
)
def test_what_cannot_be_read_names_the_path(document: str, field: str) -> None:
    (row,) = rows(document)
    assert isinstance(row, UnreadableRow)
    assert [problem.field for problem in row.problems] == [field]


def test_entities_are_refused_before_they_expand() -> None:
    entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    bomb = f'<!DOCTYPE r [<!ENTITY e0 "ha">{entities}]>{report("&e9;")}'
    with pytest.raises(XmlUnusableError, match="document type"):
        root_of([bomb.encode()])


def test_a_document_that_is_nested_without_end_is_refused() -> None:
    assert root_of([b"<a>" * 100, b"</a>" * 100]).tag == "a"
    with pytest.raises(XmlUnusableError, match="more than 100"):
        root_of([b"<a>" * 101, b"</a>" * 101])
    with pytest.raises(XmlUnusableError, match="within each other"):
        root_of([b"<a>" * 1_000_000])


def test_a_file_that_is_no_xml_is_one_row_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "results.xml"
    path.write_text("<assessmentResult>", encoding="utf-8")
    (row,) = read_qti_results(path)
    assert isinstance(row, UnreadableRow)
    assert row.problems[0].reason.startswith("is no XML")


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "results.xml.gz"
    path.write_bytes(gzip.compress(report(item()).encode()))
    (row,) = read_qti_results(path, "tao")
    assert isinstance(row, Row)


def test_a_damaged_and_a_missing_and_a_huge_file_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.xml.gz"
    path.write_bytes(gzip.compress(report(item()).encode())[:-12])
    with pytest.raises(FileUnusableError, match="is damaged"):
        list(read_qti_results(path))
    with pytest.raises(FileUnusableError, match="cannot be read"):
        list(read_qti_results(tmp_path / "none.xml"))
    path.write_text(report(item()), encoding="utf-8")
    monkeypatch.setattr(qti_results, "DOCUMENT_BYTES_MAX", path.stat().st_size)
    assert len(list(read_qti_results(path))) == 1
    monkeypatch.setattr(qti_results, "DOCUMENT_BYTES_MAX", path.stat().st_size - 1)
    with pytest.raises(FileUnusableError, match="split it"):
        list(read_qti_results(path))


TEXTS = st.sampled_from(
    ["SCORE", "MAXSCORE", "3", "1e400", "q4", "final", "2026-03-14T10:20:30Z", "numAttempts", "²", ""]
)
NAMES = st.sampled_from(["assessmentResult", "context", "itemResult", "testResult", "outcomeVariable", "value", "x"])
KEYS = st.sampled_from(["identifier", "sourcedId", "datestamp", "sessionStatus", "normalMaximum"])


def element(name: str, attributes: dict[str, str], content: list[str]) -> str:
    written = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f"<{name}{written}>{''.join(content)}</{name}>"


TREES = st.recursive(
    TEXTS,
    lambda inner: st.builds(element, NAMES, st.dictionaries(KEYS, TEXTS, max_size=3), st.lists(inner, max_size=4)),
    max_leaves=12,
)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | TREES.map(report).map(str.encode))
@example(b"<?xml version='1.0' encoding='ebcdic'?><a/>")
@example(b"\xff\xfe<\x00")
def test_any_bytes_get_an_answer(content: bytes) -> None:
    try:
        root = root_of([content])
    except XmlUnusableError:
        return
    for row in rows_of(root, "qti-results", 1):
        assert isinstance(row, Row | LeftOutRow) or row.problems[0].reason
