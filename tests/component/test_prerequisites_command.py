"""`cairn catalog prerequisites` on files and a log; `cairn catalog apply-prerequisites` against a running service."""

import csv
import io
import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from services.catalog.formats.decided_prerequisites import read_decided_prerequisites
from services.recommender.application.operations.prerequisites import judge_catalog, logged_responses
from services.recommender.application.ports.catalog import CatalogTags
from services.recommender.application.training.collect import LogBatch, LoggedEvent, LogSpan
from services.recommender.application.training.train import TenantWithoutEventsError
from services.recommender.cli.prerequisites import app, prerequisites_as_csv, print_prerequisites
from services.recommender.domain.learner.events import AssessmentEvent, Grain
from services.recommender.domain.ranking.catalog import CatalogSkill
from services.recommender.domain.training.prerequisites import Verdict, judge
from tests.catalogs import catalog_commands
from tests.courses import pairs_of, taken

SURE, VAGUE = (400, 0.5, 0.05, 100, 60, 5, 100), (400, 0.3, 0.30, 100, 60, 5, 100)
BACKWARD = (400, 0.5, 0.05, 100, 5, 60, 100)
CATALOG = {"a": (), "b": ("a",), "c": ("a",), "d": (), "e": ("b", "z"), "z": ()}
FOUND = judge(pairs_of({"ab": SURE, "ac": BACKWARD, "ad": SURE, "be": VAGUE}), CATALOG)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """45 learners: too few to be sure, or to search for the filter's constants."""
    data = tmp_path_factory.mktemp("course")
    table = taken(45, seed=1)
    with (data / "responses.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("learner", "item", "skills", "correct"))
        for row in range(len(table)):
            names = table.learners[table.learner[row]], table.items[table.item[row]], table.skills[table.skill[row]]
            writer.writerow((*names, table.response[row]))
    (data / "prerequisites.csv").write_text("skill,prerequisite\nf,a\nx,a\n", encoding="utf-8")
    return data


def run(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [*map(str, arguments)])


def test_responses_of_a_folder_are_judged(folder, tmp_path):
    done = run("--data", folder, "--json", tmp_path / "found.json", "--out", tmp_path / "table.csv")
    assert done.exit_code == 0, done.output
    assert "of 2 prerequisites, 1 have both ends in the log: " in done.stdout
    found = json.loads((tmp_path / "found.json").read_bytes())
    assert (found["learners"], found["edges_in_log"]) == (45, 1)
    assert [(edge["prerequisite"], edge["skill"]) for edge in found["edges"]] == [("a", "f"), ("a", "x")]
    assert 30 <= found["edges"][0]["learners"] <= 45
    assert found["edges"][1]["reason"] == "the responses lack one of the two"
    assert sum(found["other_pairs"].values()) > 0
    assert (
        (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()[0].startswith("prerequisite,skill,verdict,")
    )


def rows_of(table):
    return list(csv.DictReader(io.StringIO(table.decode())))


def test_the_table_to_decide_on_has_proposals_first_and_no_decisions():
    rows = rows_of(prerequisites_as_csv(FOUND))
    assert [(row["prerequisite"], row["skill"], row["verdict"], row["decision"]) for row in rows] == [
        ("a", "d", "proposed", ""),
        ("a", "c", "contradicted", ""),
        ("a", "b", "supported", ""),
        ("b", "e", "cannot tell", ""),
        ("z", "e", "cannot tell", ""),
    ]
    assert (rows[0]["slope"], rows[0]["learners"], rows[0]["know_prerequisite_only"]) == ("0.500", "400", "60")
    assert rows[4]["slope"] == ""


def test_people_read_what_was_found_and_what_to_do_next():
    console = Console(width=200)
    with console.capture() as captured:
        print_prerequisites(console, FOUND, 20)
    said = captured.get()
    assert said.index("proposed") < said.index("contradicted") < said.index("supported")
    assert "0.40 to 0.60" in said
    assert "of 5 prerequisites, 4 have both ends in the log" not in said
    assert "of 4 prerequisites, 3 have both ends in the log: 1 supported, 1 contradicted, 1 it cannot tell" in said
    assert "Next: write yes or no in the column decision" in said


def test_a_limit_says_how_many_are_not_shown():
    console = Console(width=200)
    with console.capture() as captured:
        print_prerequisites(console, judge(pairs_of({"ab": SURE, "cd": SURE}), dict.fromkeys("abcd", ())), 1)
    assert "... and 1 more: raise --limit" in captured.get()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tenant", "No Tenant"], "--tenant 'No Tenant' is not a tenant"),
        (["--tenant", ""], "--tenant '' is not a tenant"),
        (["--data", "EMPTY"], "holds neither interactions.csv.gz nor interactions.csv"),
        (["--data", "DATA", "--reviewed", "EMPTY/none.csv"], "none.csv"),
        (["--data", "DATA", "--reviewed", "DATA/prerequisites.csv"], "lacks the column decision"),
        (["--data", "DATA", "--reviewed", "EMPTY/maybe.csv"], "line 2: 'maybe' is no decision: write yes or no"),
        (["--data", "DATA", "--json", "EMPTY/no/x.json"], "--json"),
    ],
)
def test_wrong_options_and_data_are_named(arguments, said, folder, tmp_path, monkeypatch):
    monkeypatch.delenv("CAIRN_TENANT", raising=False)
    (tmp_path / "maybe.csv").write_text("prerequisite,skill,decision\na,b,maybe\n", encoding="utf-8")
    done = run(*(each.replace("DATA", str(folder)).replace("EMPTY", str(tmp_path)) for each in arguments))
    assert (done.exit_code, said in done.output) == (2, True), done.output


class Log:
    """A log in memory."""

    def __init__(self, events):
        self.events = events

    async def span(self):
        return LogSpan("log/1", {0: 0}, {0: len(self.events)})

    async def batches(self, _span):
        yield LogBatch(self.events, [], len(self.events))


class Catalog:
    async def read(self):
        return CatalogTags(0, 0, {}, {"t": [CatalogSkill("x"), CatalogSkill("y", prerequisites=("x",))]})


def answered(number, item, grain=Grain.ITEM):
    event = AssessmentEvent(number.to_bytes(8, "big"), 1.0, 0, item, "quiz", ("x",), grain, "", b"abc")
    return LoggedEvent("t", "ada", event)


async def test_responses_and_skills_of_a_tenant_are_read():
    shown = []
    # Evidence is the first of three: the second is the same again, the third the score of its activity.
    log = Log([answered(1, "y"), answered(1, "y"), answered(2, "", Grain.ACTIVITY)])
    table, skills = await logged_responses(log, Catalog(), "t", lambda done, total: shown.append((done, total)))
    assert (len(table), [skill.skill_id for skill in skills]) == (1, ["x", "y"])
    assert shown[-1] == (3, 3)
    with pytest.raises(TenantWithoutEventsError, match="no responses of the tenant u; it has those of t"):
        await logged_responses(log, Catalog(), "u", lambda *_: None)


def test_responses_to_a_skill_of_another_framework_count_for_the_same_skill():
    skills = [
        CatalogSkill("X", equivalents=("urn:x",)),
        CatalogSkill("Y", prerequisites=("X",)),
        CatalogSkill("a", equivalents=("urn:x",)),
        CatalogSkill("b", equivalents=("Y",)),
    ]
    found = judge_catalog(
        taken(2, seed=1), skills, lambda *_, **__: pairs_of({"ab": SURE}), rejected=(), rate=0.05, advance=print
    )
    assert [(edge.prerequisite, edge.skill, edge.verdict) for edge in found.edges] == [("X", "Y", Verdict.SUPPORTED)]


@pytest.fixture
async def catalog(tmp_path):
    lines = [{"id": skill, "prerequisites": list(needs)} for skill, needs in CATALOG.items()]
    (tmp_path / "skills.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    async with catalog_commands(tmp_path) as run_catalog:
        await run_catalog("import", "--skills", tmp_path / "skills.jsonl")
        yield run_catalog


def decided(folder, decisions):
    """The table of what was found, with decisions by prerequisite and skill."""
    rows = rows_of(prerequisites_as_csv(FOUND))
    path = folder / "decided.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {"decision": decisions.get(row["prerequisite"] + row["skill"], "")})
    return path


async def required(catalog):
    lines = (await catalog("list", "skill", "--json")).stdout.splitlines()
    return {skill["id"]: skill.get("prerequisites", []) for skill in map(json.loads, lines)}


async def test_decisions_add_and_remove_prerequisites_and_the_rest_stays(catalog, tmp_path):
    table = decided(tmp_path, {"ad": "yes", "ac": "No", "ab": "yes"})
    tried = await catalog("apply-prerequisites", table, "--dry-run")
    assert (tried.exit_code, tried.stdout) == (
        0,
        "1 prerequisites would be added, 1 would be removed, of 2 skills; 3 rows decided, 2 left open\n",
    )
    before = await required(catalog)
    assert before == {skill: list(needs) for skill, needs in CATALOG.items()}
    done = await catalog("apply-prerequisites", table)
    # The service of the test logs to the same stream.
    assert done.stdout.splitlines()[-1] == "1 prerequisites added, 1 removed, of 2 skills; 3 rows decided, 2 left open"
    assert await required(catalog) == before | {"c": [], "d": ["a"]}
    again = await catalog("apply-prerequisites", table)
    assert again.stdout.startswith("0 prerequisites added, 0 removed, of 0 skills")


async def test_a_table_with_a_wrong_row_changes_nothing(catalog, tmp_path):
    before = await required(catalog)
    table = tmp_path / "wrong.csv"
    table.write_text("prerequisite,skill,decision\na,d,yes\nq,d,yes\na,d,no\na,b,perhaps\n", encoding="utf-8")
    done = await catalog("apply-prerequisites", table)
    assert done.exit_code == 2
    for said in (
        "wrong.csv:3: prerequisite 'q' is no skill of the catalog",
        "wrong.csv:4: decision contradicts line 2",
        "wrong.csv:5: decision 'perhaps' is no decision: write yes or no",
        "nothing was written",
    ):
        assert said in done.output
    assert await required(catalog) == before


async def test_decisions_that_would_form_a_cycle_are_refused_as_a_whole(catalog, tmp_path):
    before = await required(catalog)
    table = tmp_path / "cycle.csv"
    table.write_text("prerequisite,skill,decision\na,d,yes\nb,a,yes\n", encoding="utf-8")
    done = await catalog("apply-prerequisites", table)
    assert (done.exit_code, "cycle" in done.output) == (1, True), done.output
    assert await required(catalog) == before


@pytest.mark.parametrize("content", ["", "prerequisite,skill\na,b\n"])
def test_a_file_that_is_no_table_of_decisions_is_refused(content, tmp_path):
    from services.catalog.formats.jsonl import FileUnreadableError

    (tmp_path / "x.csv").write_text(content, encoding="utf-8")
    with pytest.raises(FileUnreadableError, match=r"x\.csv"):
        read_decided_prerequisites(tmp_path / "x.csv")


def test_a_rejected_proposal_is_not_made_again(tmp_path, monkeypatch, folder):
    seen = []

    def judged(table, skills, *, rejected, rate, advance):
        seen.append(rejected)
        return judge(pairs_of({"ad": SURE}), CATALOG, rejected=rejected)

    monkeypatch.setattr("services.recommender.cli.prerequisites.judged", judged)
    done = run("--data", folder, "--reviewed", decided(tmp_path, {"ad": "no", "ab": "yes"}))
    assert seen == [{("a", "d")}]
    assert "1 more are not proposed, because a reviewed table says no to them" in done.stdout
