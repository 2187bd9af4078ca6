"""`cairn export mastery`: what a district wants back, in every kind of file."""

from __future__ import annotations

import csv
import json
import re
import stat
import zipfile
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import jsonschema
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from services.common.auth.identity import pseudonym
from services.recommender.adapters.files.exported_tables import ExportedTable
from services.recommender.adapters.files.text_tables import CSV
from services.recommender.adapters.files.workbooks import WORKBOOK
from services.recommender.application.operations.columns import Column, ColumnType
from services.recommender.application.operations.export import ExportBatch
from services.recommender.bootstrap import export_mastery
from services.recommender.cli.export import app

SECRET = bytes(range(16))
LAST = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
ADA, BEN, EVE = (pseudonym(SECRET, learner) for learner in ("ada", "=ben", "eve"))
HEADER = [
    "learner",
    "learner_form",
    "skill",
    "skill_name",
    "mastery",
    "mastery_low",
    "mastery_high",
    "mastered",
    "responses",
    "successes",
    "last_response_at",
    "learner_responses",
    "epoch",
]


def state(learner, skill, mastery, responses, last=LAST):
    return {
        "tenant": "riverbend",
        "learner": learner,
        "skill": skill,
        "mastery": mastery,
        "mastery_low": mastery - 0.125,
        "mastery_high": mastery + 0.125,
        "mastered": mastery > 0.8,
        "responses": responses,
        "successes": 1.5,
        "last_response_at": last,
        "learner_responses": 9,
        "epoch": 3,
    }


STATES = [
    ExportBatch([state(ADA, "-3.OA", 0.8125, 6), state(ADA, "add", 0.5, 3, None)], 1),
    ExportBatch([state(BEN, "add", 0.25, 1, None), state(EVE, "add", 0.75, 2)], 3, damaged=("X" * 26,)),
]


@pytest.fixture
def district(tmp_path, monkeypatch):
    """A folder with a tenants file and a table of learners, and a fake of state and catalog."""
    tenants = tmp_path / "tenants.yaml"
    tenants.write_text(yaml.safe_dump({"tenants": {"riverbend": {"secret": SECRET.hex()}}}))
    tenants.chmod(0o600)
    (tmp_path / "people.csv").write_text("student_id,id\nS-1,ada\nS-2,=ben\nS-3,zoe\n")

    @asynccontextmanager
    async def states(_settings, _tenant):
        async def batches():
            for batch in STATES:
                yield batch

        yield batches()

    @asynccontextmanager
    async def catalog(_settings):
        columns = SimpleNamespace(skill_ids=("add",), skill_labels=("Add within 20",))
        yield SimpleNamespace(columns=lambda _tenant: columns)

    monkeypatch.setattr(export_mastery, "current_states", states)
    monkeypatch.setattr(export_mastery, "served_catalog", catalog)
    monkeypatch.setattr(export_mastery, "server_settings", lambda _: SimpleNamespace(tenants=tenants))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def export(*arguments):
    result = CliRunner().invoke(app, ["mastery", "--tenant", "riverbend", "--to", "out", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def the_file(folder, suffix, table="mastery"):
    (file,) = (folder / "out" / table / "tenant=riverbend").iterdir()
    assert file.name == f"part-00000{suffix}"
    return file


def sheets_of(file: Path):
    """The cells of each sheet of a workbook by their addresses, by ECMA-376: (type, text)."""
    name = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    with zipfile.ZipFile(file) as book:
        for number in (1, 2):
            tree = ET.fromstring(book.read(f"xl/worksheets/sheet{number}.xml"))
            assert not list(tree.iter(f"{name}f")), "there is a formula"
            yield {
                cell.get("r"): (
                    cell.get("t"),
                    "".join(text.text or "" for text in cell.iter() if text.tag in {f"{name}t", f"{name}v"}),
                )
                for cell in tree.iter(f"{name}c")
            }


def test_csv_has_a_row_per_learner_and_skill_with_the_platform_s_ids(district):
    result = export("--learners", "people.csv", "--json", "summary.json")
    assert result.exit_code == 0
    file = the_file(district, ".csv")
    with file.open(newline="", encoding="utf-8") as opened:
        header, *rows = csv.reader(opened)
    assert header == HEADER
    common = ["9", "3"]
    assert rows == [
        [
            "ada",
            "platform",
            "'-3.OA",
            "",
            "0.8125",
            "0.6875",
            "0.9375",
            "true",
            "6",
            "1.5",
            "2026-03-02T09:15:00Z",
            *common,
        ],
        ["ada", "platform", "add", "Add within 20", "0.5", "0.375", "0.625", "false", "3", "1.5", "", *common],
        ["'=ben", "platform", "add", "Add within 20", "0.25", "0.125", "0.375", "false", "1", "1.5", "", *common],
        [
            EVE,
            "pseudonym",
            "add",
            "Add within 20",
            "0.75",
            "0.625",
            "0.875",
            "false",
            "2",
            "1.5",
            "2026-03-02T09:15:00Z",
            *common,
        ],
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "4 rows in 1 file(s)" in result.stdout
    assert (
        "1 of the learners in people.csv have no state; 1 who are not in it appear under their pseudonyms"
        in result.stderr
    )
    assert "left out 1 learner(s) of whom what is stored is damaged: XXXX" in result.stderr
    summary = json.loads((district / "summary.json").read_text())
    assert (summary["rows"], summary["without_state"], summary["pseudonyms"]) == (4, 1, 1)
    assert summary["files"] == ["out/mastery/tenant=riverbend/part-00000.csv"]


def test_a_workbook_holds_texts_numbers_times_and_no_formulas_and_says_what_columns_mean(district):
    assert export("--learners", "people.csv", "--as", "xlsx").exit_code == 0
    rows, columns = sheets_of(the_file(district, ".xlsx"))
    assert [rows[f"{letter}1"][1] for letter in "ABCDEFGHIJKLM"] == HEADER
    assert (rows["A2"], rows["C2"], rows["A4"]) == (("inlineStr", "ada"), ("inlineStr", "-3.OA"), ("inlineStr", "=ben"))
    assert (rows["E2"], rows["H2"], rows["I2"]) == ((None, "0.8125"), ("b", "1"), (None, "6"))
    # The 2nd of March 2026 is day 46083 of the calendar of 1900, and 09:15 is 37/96 of a day.
    assert float(rows["K2"][1]) == pytest.approx(46083 + 37 / 96)
    assert "D2" not in rows
    assert (columns["A1"][1], columns["A13"][1]) == ("learner", "epoch")
    assert columns["B4"][1].startswith("what the catalog calls the skill")


def test_parquet_holds_texts_as_they_are_and_the_columns_meanings(district):
    assert export("--as", "parquet", "--learners", "people.csv").exit_code == 0
    table = pq.read_table(the_file(district, ".parquet"))
    assert table.column_names == HEADER
    assert table["learner"].to_pylist() == ["ada", "ada", "=ben", EVE]
    assert table["skill"].to_pylist() == ["-3.OA", "add", "add", "add"]
    assert table["last_response_at"].to_pylist() == [LAST, None, None, LAST]
    assert table.schema.field("learner_form").metadata[b"description"].startswith(b"platform or pseudonym")


def test_without_ids_learners_have_their_pseudonyms_and_no_tenants_file_is_needed(district):
    (district / "tenants.yaml").unlink()
    assert export("--as", "parquet").exit_code == 0
    table = pq.read_table(the_file(district, ".parquet"))
    assert table["learner"].to_pylist() == [ADA, ADA, BEN, EVE]
    assert set(table["learner_form"].to_pylist()) == {"pseudonym"}


def test_kinds_of_files_stand_side_by_side_and_none_is_written_twice(district):
    assert [export("--as", kind).exit_code for kind in ("csv", "xlsx", "parquet")] == [0, 0, 0]
    again = export("--as", "csv")
    assert again.exit_code == 2
    assert "already holds an export: remove it, or name another with --to" in again.stderr


@pytest.mark.parametrize("kind", [CSV, WORKBOOK], ids=["csv", "xlsx"])
def test_a_full_file_is_followed_by_another(tmp_path, kind):
    columns = [Column("tenant", ColumnType.TEXT, "whose"), Column("n", ColumnType.INTEGER, "a number")]
    small = type(kind)(kind.suffix, kind.begin, 3)
    with ExportedTable(tmp_path, "t", "riverbend", columns, small, rows_per_group=5) as table:
        table.add([{"n": n} for n in range(7)])
    assert [file.name for file in table.files] == [f"part-{n:05d}{kind.suffix}" for n in range(3)]
    if kind is CSV:
        assert [file.read_text().split() for file in table.files] == [["n", *"012"], ["n", *"345"], ["n", "6"]]
        return
    found = [[text for _, text in next(sheets_of(file)).values()] for file in table.files]
    assert found == [["n", *"012"], ["n", *"345"], ["n", "6"]]


def test_a_failed_export_leaves_no_file_with_a_final_name(tmp_path):
    columns = [Column("n", ColumnType.INTEGER, "a number")]

    def fail():
        with ExportedTable(tmp_path, "t", "riverbend", columns, CSV, rows_per_group=1) as table:
            table.add([{"n": 1}])
            raise ConnectionError("away")

    with pytest.raises(ConnectionError):
        fail()
    assert [file.name for file in (tmp_path / "t" / "tenant=riverbend").iterdir()] == ["part-00000.csv.unfinished"]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\uff1d"])
def test_no_text_of_a_csv_file_is_a_formula(tmp_path, begin):
    columns = [Column("text", ColumnType.TEXT, "a text"), Column("n", ColumnType.NUMBER, "a number")]
    with ExportedTable(tmp_path, "t", "riverbend", columns, CSV) as table:
        table.add([{"text": f"{begin}1+1", "n": -1.5}, {"text": f"1{begin}", "n": None}])
    with table.files[0].open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1:] == [[f"'{begin}1+1", "-1.5"], [f"1{begin}", ""]]


def text(characters):
    return {"type": "string", "minLength": 1, "maxLength": characters}


def strict(required, **properties):
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def schema_of(version):
    """StudentAssessment as the public OpenAPI documents of Ed-Fi's Data Standard have it: what is used of it."""
    identifier = text(60 if version == 5 else 120)
    reference = {"assessmentIdentifier": identifier, "namespace": text(255) | {"minLength": 5}}
    descriptor = text(306) | {"pattern": r"^uri://[^#]+/\w+Descriptor#.{1,50}$"}
    score = strict(
        ["assessmentReportingMethodDescriptor", "resultDatatypeTypeDescriptor", "result"],
        assessmentReportingMethodDescriptor=descriptor,
        resultDatatypeTypeDescriptor=descriptor,
        result=text(35),
    )
    level = strict(
        ["assessmentReportingMethodDescriptor", "performanceLevelDescriptor"],
        assessmentReportingMethodDescriptor=descriptor,
        performanceLevelDescriptor=descriptor,
        performanceLevelIndicatorName=text(60),
    )
    results = {
        "administrationDate": {"type": "string", "format": "date-time"},
        "scoreResults": {"type": "array", "items": score},
        "performanceLevels": {"type": "array", "items": level},
    }
    objective = strict(
        ["objectiveAssessmentReference"],
        objectiveAssessmentReference=strict(
            [*reference, "identificationCode"], **reference, identificationCode=identifier
        ),
        **results,
    )
    required = ["studentAssessmentIdentifier", "assessmentReference", "studentReference"]
    return strict(
        required if version == 5 else [*required, "schoolYearTypeReference"],
        studentAssessmentIdentifier=identifier,
        assessmentReference=strict([*reference], **reference),
        schoolYearTypeReference=strict(["schoolYear"], schoolYear={"type": "integer"}),
        studentReference=strict(["studentUniqueId"], studentUniqueId=text(32)),
        studentObjectiveAssessments={"type": "array", "items": objective},
        **results,
    )


@pytest.mark.parametrize(("version", "year"), [(5, ()), (5, ("--school-year", "2026")), (6, ("--school-year", "2026"))])
def test_ed_fi_takes_what_is_written(district, version, year):
    result = export("--as", "edfi", "--namespace", "uri://district.example", "--learners", "people.csv", *year)
    assert result.exit_code == 0
    assert "3 learners in 1 file(s)" in result.stdout
    resources = [
        json.loads(line) for line in the_file(district, ".jsonl", "studentAssessments").read_text().splitlines()
    ]
    for resource in resources:
        jsonschema.validate(resource, schema_of(version))
        assert re.fullmatch(r"2026-03-02T09:15:00Z", resource.get("administrationDate", "2026-03-02T09:15:00Z"))
    assert [resource["studentReference"]["studentUniqueId"] for resource in resources] == ["ada", "=ben", EVE]
    assert [resource["studentAssessmentIdentifier"] for resource in resources] == [
        f"mastery-{'2026-' if year else ''}{learner}" for learner in ("ada", "=ben", EVE)
    ]
    assert "administrationDate" not in resources[1]


def test_a_skill_is_an_objective_assessment_with_its_chance_interval_responses_and_level(district):
    assert export("--as", "edfi", "--namespace", "uri://district.example", "--learners", "people.csv").exit_code == 0
    ada = json.loads(the_file(district, ".jsonl", "studentAssessments").read_text().splitlines()[0])
    first, second = ada["studentObjectiveAssessments"]
    own, standard = "uri://district.example/AssessmentReportingMethodDescriptor", "uri://ed-fi.org"
    assert first == {
        "objectiveAssessmentReference": {
            "assessmentIdentifier": "cairn-mastery",
            "namespace": "uri://district.example",
            "identificationCode": "-3.OA",
        },
        "administrationDate": "2026-03-02T09:15:00Z",
        "scoreResults": [
            {
                "assessmentReportingMethodDescriptor": f"{own}#{method}",
                "resultDatatypeTypeDescriptor": f"{standard}/ResultDatatypeTypeDescriptor#{datatype}",
                "result": result,
            }
            for method, datatype, result in (
                ("Chance of success", "Decimal", "0.8125"),
                ("Chance of success, 95 % interval", "Range", "0.6875-0.9375"),
                ("Responses", "Integer", "6"),
            )
        ],
        "performanceLevels": [
            {
                "assessmentReportingMethodDescriptor": f"{standard}/AssessmentReportingMethodDescriptor#Mastery level",
                "performanceLevelDescriptor": "uri://district.example/PerformanceLevelDescriptor#Mastered",
            }
        ],
    }
    assert second["performanceLevels"][0]["performanceLevelDescriptor"].endswith("#Not yet mastered")


def test_a_skill_whose_id_is_too_long_for_ed_fi_is_left_out_and_named(district, monkeypatch):
    long = "https://case.example/items/" + 34 * "x"
    rows = [state(ADA, long, 0.5, 3), state(ADA, long[:60], 0.5, 3)]
    monkeypatch.setattr("tests.component.test_export_mastery.STATES", [ExportBatch(rows, 1)])
    result = export("--as", "edfi", "--namespace", "uri://district.example")
    assert result.exit_code == 0
    assert f"left out 1 skill(s) whose ids have over 60 characters, which Ed-Fi does not take: {long}" in result.stderr
    resource = json.loads(the_file(district, ".jsonl", "studentAssessments").read_text())
    codes = [
        one["objectiveAssessmentReference"]["identificationCode"] for one in resource["studentObjectiveAssessments"]
    ]
    assert codes == [long[:60]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--as", "edfi"), "--namespace '' is none: --as edfi needs the one that you may write"),
        (("--as", "edfi", "--namespace", "district"), "--namespace 'district' is none"),
        (("--as", "edfi", "--namespace", "uri://d.example/"), "without spaces, # and a / at its end"),
        (("--as", "edfi", "--namespace", "uri://" + 195 * "d"), "at most 200 characters"),
        (("--namespace", "uri://d.example"), "--namespace and --school-year are for --as edfi"),
        (("--school-year", "2026"), "--namespace and --school-year are for --as edfi"),
        (("--learners", "missing.csv"), "missing.csv cannot be read"),
        (
            ("--learners", "names.csv"),
            "names.csv has the columns first, last: name the one with your platform's ids `id`",
        ),
        (("--learners", "none.csv"), "none.csv names no learner: put an id on each line below the header"),
        (("--as", "edfi", "--namespace", "uri://d", "--learners", "long.csv"), "line 2 of long.csv: 'xxxxx"),
        (("--tenant", "hilltop", "--learners", "people.csv"), "has no tenant 'hilltop'; it has riverbend"),
        (("--tenant", "River Bend"), "--tenant 'River Bend' is not a tenant"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_the_remedy_and_no_file(district, arguments, said):
    (district / "names.csv").write_text("first,last\na,b\n")
    (district / "none.csv").write_text("id\n")
    (district / "long.csv").write_text("id\n" + 33 * "x" + "\n")
    result = export(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (district / "out").exists()
