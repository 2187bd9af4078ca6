"""Contracts may grow; each kind of breaking change is found and described in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.contracts.__main__ import app
from deploy.contracts.baseline import baseline_text, read_baseline
from deploy.contracts.compatibility import Break, breaks_between
from deploy.contracts.source import ContractError, compile_protos

ROOT = Path(__file__).parents[2]

BASELINE = """\
syntax = "proto3";
package library.v1;

// The value of the topic `library.books`, under the key `tenant/id`.
message Book {
  reserved 9, 20 to 29;
  reserved "isbn";
  string title = 1;
  int32 pages = 2;
  optional int32 year = 3;
  repeated string authors = 4;
  map<string, string> notes = 5;
  oneof cover {
    string colour = 6;
    Picture picture = 7;
  }
  Binding binding = 8;
  Shelf shelf = 10;

  message Shelf {
    string room = 1;
  }
}

message Picture {
  string url = 1;
}

enum Binding {
  BINDING_UNSPECIFIED = 0;
  BINDING_HARD = 1;
  BINDING_SOFT = 2;
  reserved 7, 10 to 12;
  reserved "BINDING_SPIRAL";
}

message GetBookRequest {}
message GetBookResponse {}
message WatchBooksRequest {}
message WatchBooksResponse {}

service Library {
  rpc GetBook(GetBookRequest) returns (GetBookResponse);
  rpc WatchBooks(WatchBooksRequest) returns (stream WatchBooksResponse);
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    def compile_text(text, name="library.proto"):
        folder = tmp_path_factory.mktemp("protos")
        (folder / name).write_text(text)
        return compile_protos(folder)

    return compile_text


@pytest.fixture(scope="module")
def baseline(compiled):
    return compiled(BASELINE)


def changed(*replacements):
    text = BASELINE
    for old, new in replacements:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("replacements", "element", "change"),
    [
        ([("string title = 1;", "string name = 1;")], "Book.title", "(number 1) was renamed to name"),
        ([("string title = 1;", "string title = 11;")], "Book.title", "changed its number from 1 to 11"),
        ([("  string title = 1;\n", "")], "Book.title", "(number 1) was removed"),
        ([("  string title = 1;\n", '  reserved 1; reserved "title";\n')], "Book.title", "(number 1) was removed"),
        (
            [("string title = 1;", 'string title = 1 [json_name = "Title"];')],
            "Book.title",
            "changed its JSON name from title to Title",
        ),
        ([("int32 pages = 2;", "sint32 pages = 2;")], "Book.pages", "changed its type from int32 to sint32"),
        ([("int32 pages = 2;", "int64 pages = 2;")], "Book.pages", "changed its type from int32 to int64"),
        (
            [("Binding binding = 8;", "Picture binding = 8;")],
            "Book.binding",
            "changed its type from library.v1.Binding to library.v1.Picture",
        ),
        (
            [("map<string, string> notes", "map<string, bytes> notes")],
            "Book.NotesEntry.value",
            "changed its type from string to bytes",
        ),
        (
            [("int32 pages = 2;", "repeated int32 pages = 2;")],
            "Book.pages",
            "changed its cardinality from singular to repeated",
        ),
        (
            [("repeated string authors", "string authors")],
            "Book.authors",
            "changed its cardinality from repeated to singular",
        ),
        (
            [("optional int32 year", "int32 year")],
            "Book.year",
            "changed its cardinality from optional to singular",
        ),
        (
            [("int32 pages = 2;", "optional int32 pages = 2;")],
            "Book.pages",
            "changed its cardinality from singular to optional",
        ),
        (
            [("    string colour = 6;\n", ""), ("  Binding binding = 8;", "  Binding binding = 8; string colour = 6;")],
            "Book.colour",
            "moved from the oneof cover to no oneof",
        ),
        (
            [
                ("  Binding binding = 8;\n", ""),
                ("    string colour = 6;", "    string colour = 6; Binding binding = 8;"),
            ],
            "Book.binding",
            "moved from no oneof to the oneof cover",
        ),
        ([("oneof cover", "oneof front")], "Book.colour", "moved from the oneof cover to the oneof front"),
        ([("    string room = 1;\n", "")], "Book.Shelf.room", "(number 1) was removed"),
        ([("reserved 9, 20 to 29;", "reserved 20 to 29;")], "Book", "no longer reserves number 9 (number 9 is free)"),
        (
            [("reserved 9, 20 to 29;", "reserved 9, 20 to 24, 26 to 40;")],
            "Book",
            "no longer reserves numbers 20 to 29 (number 25 is free)",
        ),
        ([('  reserved "isbn";\n', "")], "Book", "no longer reserves the name isbn"),
        (
            [("reserved 9, 20 to 29;", "reserved 20 to 29; string spine = 9;")],
            "Book",
            "no longer reserves number 9 (number 9 is free)",
        ),
        ([("BINDING_HARD = 1", "BINDING_FIRM = 1")], "Binding.BINDING_HARD", "(number 1) was renamed to BINDING_FIRM"),
        ([("BINDING_HARD = 1", "BINDING_HARD = 3")], "Binding.BINDING_HARD", "changed its number from 1 to 3"),
        ([("  BINDING_HARD = 1;\n", "")], "Binding.BINDING_HARD", "(number 1) was removed"),
        (
            [("reserved 7, 10 to 12;", "reserved 7, 10 to 11;")],
            "Binding",
            "no longer reserves numbers 10 to 12 (number 12 is free)",
        ),
        ([('  reserved "BINDING_SPIRAL";\n', "")], "Binding", "no longer reserves the name BINDING_SPIRAL"),
        (
            [("message Picture {", "message Photo {"), ("Picture picture = 7;", "Photo picture = 7;")],
            "Picture",
            "was removed",
        ),
        (
            [("enum Binding {", "enum Cover {"), ("Binding binding = 8;", "Cover binding = 8;")],
            "Binding",
            "was removed",
        ),
        ([("service Library", "service Books")], "Library", "was removed"),
        (
            [("  rpc GetBook(GetBookRequest) returns (GetBookResponse);\n", "")],
            "Library.GetBook",
            "was removed",
        ),
        ([("rpc GetBook(", "rpc FetchBook(")], "Library.GetBook", "was removed"),
        (
            [("GetBook(GetBookRequest)", "GetBook(Picture)")],
            "Library.GetBook",
            "changed its request from library.v1.GetBookRequest to library.v1.Picture",
        ),
        (
            [("returns (GetBookResponse)", "returns (Book)")],
            "Library.GetBook",
            "changed its reply from library.v1.GetBookResponse to library.v1.Book",
        ),
        (
            [("returns (stream WatchBooksResponse)", "returns (WatchBooksResponse)")],
            "Library.WatchBooks",
            "changed its streaming from server streaming to unary",
        ),
        (
            [("WatchBooks(WatchBooksRequest)", "WatchBooks(stream WatchBooksRequest)")],
            "Library.WatchBooks",
            "changed its streaming from server streaming to bidirectional streaming",
        ),
        ([("package library.v1;", "package library.v2;")], "Book", "was removed"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_each_breaking_change_is_named_with_its_consequence(compiled, baseline, replacements, element, change):
    breaks = breaks_between(baseline, compiled(changed(*replacements)))
    found = [found for found in breaks if (found.element, found.change) == (f"library.v1.{element}", change)]
    assert len(found) == 1, [str(found) for found in breaks]
    assert len(found[0].consequence) > 20
    assert str(found[0]) == f"library.v1.{element} {change}: {found[0].consequence}"


@pytest.mark.parametrize(
    "replacements",
    [
        [],
        [("int32 pages = 2;", "int32 pages = 2; string language = 30;")],
        [("string colour = 6;", "string colour = 6; string pattern = 31;")],
        [("BINDING_SOFT = 2;", "BINDING_SOFT = 2; BINDING_RING = 3;")],
        [
            (
                "message GetBookRequest {}",
                "message GetBookRequest { string id = 1; enum View { VIEW_UNSPECIFIED = 0; } }",
            )
        ],
        [("message Picture {", "message Author {}\nmessage Picture {")],
        [
            ("message Picture {", "message Dropped {}\nmessage Picture {"),
            ("service Library {", "service Shop {}\nservice Library {\n  rpc DropBook(Picture) returns (Dropped);"),
        ],
        [("reserved 9, 20 to 29;", "reserved 9, 15, 20 to 22, 23 to 40;")],
        [('reserved "isbn";', 'reserved "isbn", "price";')],
        [("string title = 1;", "// What it is called.\n  string title = 1 [deprecated = true];")],
        [("  string title = 1;\n", ""), ("  int32 pages = 2;\n", "  int32 pages = 2;\n  string title = 1;\n")],
    ],
)
def test_additions_comments_deprecations_and_reordering_break_nothing(compiled, baseline, replacements):
    assert breaks_between(baseline, compiled(changed(*replacements))) == []


def test_moving_to_another_file_breaks_importers(compiled, baseline):
    breaks = breaks_between(baseline, compiled(BASELINE, "books.proto"))
    assert "library.v1.Book moved from library.proto to books.proto: programs import it from its old place" in map(
        str, breaks
    )


def test_another_syntax_is_a_breaking_change(compiled, baseline):
    text = changed(('syntax = "proto3";', 'edition = "2023";'), ("optional int32 year", "int32 year"))
    text = text.replace('reserved "isbn"', "reserved isbn").replace(
        'reserved "BINDING_SPIRAL"', "reserved BINDING_SPIRAL"
    )
    breaks = breaks_between(baseline, compiled(text))
    assert breaks[0].element == "library.proto"
    assert breaks[0].change == "changed its syntax from proto3 to editions"


def test_the_contracts_are_compatible_with_their_baseline():
    baseline = read_baseline(ROOT / "protos/baseline/cairn.v1.txtpb")
    assert {service.name for file in baseline.file for service in file.service} >= {"IngestService", "CatalogService"}
    assert [str(found) for found in breaks_between(baseline, compile_protos(ROOT / "protos"))] == []


def test_a_baseline_reads_back_as_written(compiled, baseline, tmp_path):
    path = tmp_path / "baseline.txtpb"
    path.write_text(baseline_text(baseline))
    read = read_baseline(path)
    assert breaks_between(read, baseline) == []
    assert breaks_between(baseline, read) == []
    assert not read.file[0].HasField("source_code_info")


def test_a_missing_or_damaged_baseline_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(ContractError, match="make contracts-accept"):
        read_baseline(tmp_path / "none.txtpb")
    damaged = tmp_path / "damaged.txtpb"
    damaged.write_text("file { name: ")
    with pytest.raises(ContractError, match="restore it from version control"):
        read_baseline(damaged)


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "protos").mkdir()
    (tmp_path / "protos/library.proto").write_text(BASELINE)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/topics.yaml").write_text("topics: {}\n")

    def run(command, *options):
        return CliRunner().invoke(app, [command, "--root", str(tmp_path), *options])

    assert run("accept").exit_code == 0
    assert run("write").exit_code == 0
    assert run("check").exit_code == 0
    return tmp_path, run


def test_a_broken_contract_fails_the_check_and_is_not_accepted_by_accident(checkout):
    root, run = checkout
    (root / "protos/library.proto").write_text(changed(("string title = 1;", "string name = 1;")))
    accepted_before = (root / "protos/baseline/cairn.v1.txtpb").read_text()
    assert run("write").exit_code == 0
    checked, refused = run("check"), run("accept")
    assert (checked.exit_code, refused.exit_code) == (1, 1)
    for result in (checked, refused):
        assert "library.v1.Book.title (number 1) was renamed to name" in result.stderr
        assert "BREAKING=yes" in result.stderr
    assert (root / "protos/baseline/cairn.v1.txtpb").read_text() == accepted_before

    meant = run("accept", "--breaking")
    assert meant.exit_code == 0
    assert "accepted: library.v1.Book.title" in meant.stderr
    assert run("check").exit_code == 0


def test_an_addition_passes_before_it_is_accepted_and_is_guarded_afterwards(checkout):
    root, run = checkout
    added = ("int32 pages = 2;", "int32 pages = 2; string language = 30;")
    (root / "protos/library.proto").write_text(changed(added))
    assert run("write").exit_code == 0
    assert run("check").exit_code == 0
    assert run("accept").exit_code == 0
    (root / "protos/library.proto").write_text(BASELINE)
    assert run("write").exit_code == 0
    assert "library.v1.Book.language (number 30) was removed" in run("check").stderr


def test_a_contract_that_does_not_compile_is_bad_input_with_the_compilers_message(checkout):
    root, run = checkout
    (root / "protos/library.proto").write_text(changed(("string title = 1;", "text title = 1;")))
    for command in ("check", "write", "accept"):
        result = run(command)
        assert result.exit_code == 2
        assert '"text" is not defined' in result.stderr


def test_a_break_reads_as_a_sentence():
    assert str(Break("a.B.c", "was removed", "nobody finds it")) == "a.B.c was removed: nobody finds it"
