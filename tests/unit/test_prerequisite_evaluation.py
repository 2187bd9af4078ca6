"""`make evaluate` on prerequisites: the crosswalk of the log's skills, and the command."""

import csv
import gzip
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.evaluation.__main__ import PROTOCOLS
from deploy.evaluation.prerequisites import CROSSWALK, TITLE, app, names_by_code
from services.recommender.evaluation.results import from_json

DATA = Path(os.environ.get("CAIRN_DATA", "../shared/data")) / "assistments2009"
MAP = Path(__file__).parents[2] / "services/catalog/formats/frameworks/shipped/ccss-math.jsonl"


def crosswalk():
    with CROSSWALK.open(encoding="utf-8", newline="") as file:
        return [(row["skill"], row["code"]) for row in csv.DictReader(file)]


def edges():
    lines = MAP.read_text(encoding="utf-8").splitlines()
    skills = {line["id"]: line.get("prerequisites", []) for line in map(json.loads, lines)}
    return skills, [(needed, skill) for skill, needs in skills.items() for needed in needs]


def test_the_crosswalk_names_each_standard_of_the_map_once_for_a_skill():
    rows = crosswalk()
    assert len(rows) == len(set(rows))
    assert {code for _, code in rows} <= edges()[0].keys()


@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the data in {DATA}")
def test_the_crosswalk_is_about_the_skills_of_the_log():
    with gzip.open(DATA / "interactions.csv.gz", "rt", encoding="utf-8") as file:
        in_log = {row["skill_name"].strip() for row in csv.DictReader(file)}
    known = {skill for skill, _ in crosswalk()}
    assert known <= in_log
    assert len(in_log - known) == 9
    ends = {code for _, code in crosswalk()}
    skills, found = edges()
    assert (len(skills), len(found)) == (480, 757)
    # The number in docs/prerequisites.md and docs/science.md.
    assert sum(needed in ends and skill in ends for needed, skill in found) == 74


def test_a_standard_has_the_names_of_the_log(tmp_path):
    (tmp_path / "x.csv").write_text("skill,code\nMean,6\nMode,6\nMean,7\nRange,7\n", encoding="utf-8")
    assert names_by_code(tmp_path / "x.csv", {"Mean": "Mean ", "Mode": "Mode"}) == {
        "6": ["Mean ", "Mode"],
        "7": ["Mean "],
    }


def test_the_command_says_how_many_edges_the_log_supports(tmp_path):
    rows = [
        f"{learner},{skill},{skill},1" for learner in range(3) for skill in ("Exponents", "Scientific Notation", "x")
    ]
    (tmp_path / "interactions.csv").write_text(
        "\n".join(["user_id,problem_id,skill_name,correct", *rows]), encoding="utf-8"
    )
    done = CliRunner().invoke(app, ["--data", str(tmp_path), "--json", str(tmp_path / "found.json")])
    assert done.exit_code == 0, done.output
    # 6.EE.A.1 leads to 8.EE.A.1 on the map, which nobody met, and not to 8.EE.A.3.
    assert "9 responses of 3 learners; of 757 edges, 0 have both ends in the log: 0 supported, 0" in done.stdout
    assert from_json((tmp_path / "found.json").read_bytes()).protocol == TITLE


def test_it_is_one_of_the_protocols(tmp_path):
    (protocol,) = [each for each in PROTOCOLS if each.title == TITLE]
    assert protocol.command(tmp_path)[1:] == [
        "-m", "deploy.evaluation.prerequisites", "--data", str(tmp_path / "assistments2009"),
    ]  # fmt: skip
