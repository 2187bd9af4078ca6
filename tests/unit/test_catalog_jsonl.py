"""Catalog files: one JSON object per line; every problem is reported with its line, column and remedy."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.catalog.domain.model import Resource, ResourceStatus, Skill, SkillTag
from services.catalog.domain.validation.imports import check_records
from services.catalog.formats.jsonl import (
    FileUnreadableError,
    LineProblem,
    line_of,
    read_resources,
    read_skills,
)
from services.common.resource_kinds import ResourceKindName
from tests.suites.catalog_records import resources, skills


def written(tmp_path, *lines):
    file = tmp_path / "catalog.jsonl"
    file.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return file


@settings(deadline=None)
@given(st.lists(skills, max_size=4), st.lists(resources, max_size=4))
def test_written_records_are_read_back(tmp_path_factory, some_skills, some_resources):
    folder = tmp_path_factory.mktemp("lines")
    for records, read in ((some_skills, read_skills), (some_resources, read_resources)):
        contents = read(written(folder, *map(line_of, records)))
        assert contents.problems == []
        assert contents.records == records


def test_columns_are_the_fields_of_the_contract(tmp_path):
    file = written(
        tmp_path,
        '{"id":"v","title":"T","kind":"video","description":"D","provider":"P","url":"https://example.org","teaches":'
        '[{"skill":"s","weight":1}],"assesses":[{"skill":"t","weight":0.5}],"grades":["K"],"language":"es","minutes":3,'
        '"license":"MIT","difficulty":1,"status":"draft"}',
    )
    assert read_resources(file).records == [
        Resource(
            id="v",
            title="T",
            kind=ResourceKindName.VIDEO,
            description="D",
            provider="P",
            url="https://example.org",
            teaches=(SkillTag("s", 1.0),),
            assesses=(SkillTag("t", 0.5),),
            grades=("K",),
            language="es",
            minutes=3,
            license="MIT",
            difficulty=1.0,
            status=ResourceStatus.DRAFT,
        )
    ]


def test_a_resource_without_a_status_is_active(tmp_path):
    (resource,) = read_resources(written(tmp_path, '{"id":"v","title":"T","kind":"game"}')).records
    assert resource.status is ResourceStatus.ACTIVE


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        ('{"id":"v","title":"T"}', "kind", "is missing; give one"),
        ('{"id":"v","title":"T","kind":"film"}', "kind", "'film': input should be 'lesson', 'video', 'practice'"),
        ('{"id":"v","title":"T","kind":"VIDEO"}', "kind", "'VIDEO': input should be 'lesson'"),
        ('{"id":"v","title":"T","kind":"game","minutes":"ten"}', "minutes", "'ten': input should be a valid integer"),
        ('{"id":"v","title":"T","kind":"game","minutes":-1}', "minutes", "-1: input should be greater than or equal"),
        ('{"id":"v","title":"T","kind":"game","minutes":4294967296}', "minutes", "less than or equal to 4294967295"),
        ('{"id":"v","title":7,"kind":"game"}', "title", "7: input should be a valid string"),
        (
            '{"id":"v","title":"T","kind":"game","tite":"T"}',
            "tite",
            "is not a known column; known are id, title, kind,",
        ),
        (
            '{"id":"v","title":"T","kind":"game","teaches":[{"skill":"s","weight":1,"wait":2}]}',
            "teaches[0].wait",
            "is not a known column; known are skill, weight",
        ),
        ('{"id":"v","title":"T","kind":"game","teaches":[{"skill":"s"}]}', "teaches[0].weight", "is missing"),
        ('{"id":"v","title":"T","kind":"game","title":"U"}', "title", "is given twice; keep the right one"),
        (
            '{"id":"v","title":"T","kind":"game","teaches":[{"skill":"s","weight":1,"weight":0.5}]}',
            "weight",
            "is given twice",
        ),
        ('["v"]', "", "['v']: input should be an object"),
        ('{"id":', "", "is not a JSON object: EOF while parsing a value at column 6"),
        (b'{"id":"\xff"}', "", "is not a JSON object: invalid unicode code point at column 8"),
    ],
)
def test_a_bad_line_is_named_with_number_column_and_remedy(tmp_path, line, field, reason):
    contents = read_resources(written(tmp_path, '{"id":"a","title":"A","kind":"game"}', line))
    (problem,) = contents.problems
    assert (problem.line, problem.field) == (2, field)
    assert reason in problem.reason
    assert [record.id for record in contents.records] == ["a"]


def test_every_problem_of_a_line_is_named(tmp_path):
    contents = read_skills(written(tmp_path, '{"code":1,"colour":"red"}'))
    assert [problem.field for problem in contents.problems] == ["id", "code", "colour"]


def test_nan_is_read_and_then_fails_validation(tmp_path):
    contents = read_skills(written(tmp_path, '{"id":"a","importance":NaN}'))
    assert contents.problems == []
    assert [problem.path for problem in check_records(contents.records, [])] == ["skills[0].importance"]


def test_empty_lines_are_skipped_and_counted(tmp_path):
    contents = read_skills(written(tmp_path, "", '{"id":"a"}', "  ", '{"id":"b"}', ""))
    assert contents.lines == [2, 4]


def test_a_byte_order_mark_is_accepted(tmp_path):
    assert read_skills(written(tmp_path, b'\xef\xbb\xbf{"id":"a"}')).records == [Skill(id="a")]


def test_gzip_is_recognised_by_its_bytes_not_its_name(tmp_path):
    file = tmp_path / "skills.jsonl"
    file.write_bytes(gzip.compress(b'{"id":"a"}\n'))
    assert read_skills(file).records == [Skill(id="a")]


def test_broken_gzip_is_refused_with_the_remedy(tmp_path):
    file = tmp_path / "skills.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"id":"a"}\n' * 1_000)[:-20])
    with pytest.raises(FileUnreadableError, match=r"is damaged gzip .*; compress it again"):
        read_skills(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileUnreadableError, match=r"absent.jsonl cannot be read \(No such file"):
        read_skills(tmp_path / "absent.jsonl")


@pytest.mark.parametrize("length", [1_000_000, 2_500_000])
def test_only_a_line_that_is_too_long_is_skipped(tmp_path, length):
    contents = read_skills(written(tmp_path, '{"id":"a"}', "x" * length, '{"id":"b"}'))
    assert contents.problems == [LineProblem(2, "", "is longer than 1,000,000 bytes; put one record on each line")]
    assert contents.lines == [1, 3]
