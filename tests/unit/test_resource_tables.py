"""Resources in tables."""

import pytest

from services.catalog.formats.jsonl import FileUnreadableError
from services.catalog.formats.resources.files import ResourceFormat, read_resource_files
from services.catalog.formats.resources.table import load_table_mapping, read_table_of_resources

MAPPING = """
columns: {id: ID, title: Name, kind: Type, teaches: Standards, grades: Grades, minutes: Length, url: Link}
constants: {provider: River Press, language: English}
kinds: {Clip: video}
framework: CCSS.Math
separator: "|"
"""
TABLE = (
    "ID,Name,Type,Standards,Grades,Length,Link\n"
    "1,Tiles,Clip,3.MD.C.7|1.OA.A.1,3-4,12,https://x.org/1\n"
    "2,Sheet,Worksheet,,K,1 hour,NA\n"
    ",,,,,,\n"
)


@pytest.fixture
def read(tmp_path):
    def read_text(table, mapping=MAPPING):
        (tmp_path / "t.csv").write_text(table, encoding="utf-8")
        (tmp_path / "m.yaml").write_text(mapping, encoding="utf-8")
        return read_table_of_resources(tmp_path / "t.csv", load_table_mapping(tmp_path / "m.yaml"))

    return read_text


def test_columns_and_constants_become_fields(read):
    contents = read(TABLE)
    assert not contents.problems
    first, second = contents.resources
    resource = first.resource
    assert (resource.id, resource.title, resource.kind, resource.url) == ("1", "Tiles", "video", "https://x.org/1")
    assert (resource.provider, resource.language, resource.grades) == ("River Press", "en", ("3", "4"))
    assert resource.minutes == 12
    assert [(each.relation, each.code, each.framework) for each in first.alignments] == [
        ("teaches", "3.MD.C.7", "CCSS.Math"),
        ("teaches", "1.OA.A.1", "CCSS.Math"),
    ]
    assert (second.resource.kind, second.resource.minutes, second.resource.url) == ("practice", 60, "")
    assert second.place == "row 3"


def test_rows_that_are_no_resource_are_named_by_row_and_field(read):
    header = TABLE.splitlines()[0]
    rows = [",A,Clip,,,,", "2,,Clip,,,,", "3,C,Poster,,,,", "4,D,Clip,,,,", "4,E,Clip,,,,"]
    assert [problem.path for problem in read("\n".join([header, *rows])).problems] == [
        "row 2: id",
        "row 3: title",
        "row 4: kind",
        "row 6: id",
    ]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("columns: {id: Id, title: Name}", "has no column 'Id'; its columns are 'ID', 'Name'"),
        ("columns: {colour: ID}", "columns.colour"),
        ("columns: {id: ID}\nkinds: {x: film}", "kinds.x"),
        ("[", "is no YAML"),
        ("columns: {id: ID}\ncolumns: {}", "columns"),
    ],
    ids=["column", "field", "kind", "yaml", "twice"],
)
def test_a_mapping_that_does_not_fit_is_refused(read, mapping, message):
    with pytest.raises(FileUnreadableError, match=message):
        read(TABLE, mapping)


def test_a_prefix_is_put_in_front_of_ids_that_do_not_have_it(tmp_path):
    (tmp_path / "m.yaml").write_text("columns: {id: ID, title: T}\nconstants: {kind: lesson}", encoding="utf-8")
    (tmp_path / "t.csv").write_text("ID,T\n1,A\nown/2,B\n", encoding="utf-8")
    (contents,) = read_resource_files([tmp_path / "t.csv"], ResourceFormat.TABLE, "own/", tmp_path / "m.yaml")
    assert [each.resource.id for each in contents.resources] == ["own/1", "own/2"]
    assert contents.scope == "own/"
