"""Input of the demo: a real log with some responses held back, and the simulated district."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import orjson
import pytest

from deploy.local.demo import DISTRICT
from deploy.local.district import DistrictSettings
from deploy.local.material import check_log, real_log, simulated_district
from deploy.processes import BadInputError
from services.ingest.application.ports import Row
from services.ingest.formats import Format, read_events

HEADER = "user_id,seq,problem_id,skill_id,skill_name,correct,fold\n"


@pytest.fixture
def dataset(tmp_path):
    """Four learners of 40 responses and one of 3; every tenth response of a learner has two skills."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    lines = [HEADER]
    for learner in ("11", "12", "13", "14", "short"):
        sequence = 0
        for response in range(3 if learner == "short" else 40):
            for skill in ("Mean", "Median") if response % 10 == 9 else ("Mean",):
                lines.append(f"{learner},{sequence},p{response % 7},1,{skill},{response % 2},1\n")
                sequence += 1
    with gzip.open(folder / "interactions.csv.gz", "wt") as file:
        file.writelines(lines)
    return folder


def responses(path):
    return [row.submission for row in read_events(path, Format.ASSISTMENTS) if isinstance(row, Row)]


def test_loaded_and_live_responses_make_up_the_whole_log(dataset, tmp_path):
    material = real_log(dataset, tmp_path, lambda _: None)

    loaded = responses(material.events)
    live = [submission for play in (material.live, *material.others) for submission in play.submissions]
    whole = responses(dataset / "interactions.csv.gz")
    assert material.loaded == len(loaded)
    assert len(whole) == 163
    assert sorted(map(str, loaded + live)) == sorted(map(str, whole))


def test_the_last_ten_responses_of_one_learner_are_held_back(dataset, tmp_path):
    material = real_log(dataset, tmp_path, lambda _: None)

    of_learner = [s for s in responses(dataset / "interactions.csv.gz") if s.learner_id == material.live.learner_id]
    assert list(material.live.submissions) == of_learner[-10:]
    assert material.live.learner_id != "short"


def test_the_same_log_shows_the_same_learner(dataset, tmp_path):
    first, second = (real_log(dataset, tmp_path, lambda _: None).live for _ in range(2))

    assert first == second


def test_the_other_learners_answer_their_last_response(dataset, tmp_path):
    material = real_log(dataset, tmp_path, lambda _: None)

    assert len(material.others) == 4
    assert all(len(play.submissions) == 1 for play in material.others)


def test_the_catalog_is_the_whole_log_s_problems_and_skills(dataset, tmp_path):
    material = real_log(dataset, tmp_path, lambda _: None)

    resources = [orjson.loads(line) for line in material.resources.read_bytes().splitlines()]
    skills = [orjson.loads(line)["id"] for line in material.skills.read_bytes().splitlines()]
    assert [resource["id"] for resource in resources] == [f"p{number}" for number in range(7)]
    assert skills == ["Mean", "Median"]


def test_a_folder_without_the_log_is_refused_with_an_example(tmp_path):
    with pytest.raises(BadInputError, match=r"no interactions\.csv\.gz .* make demo DATASET=") as refused:
        check_log(tmp_path)

    assert refused.value.exit_code == 2


def test_a_log_that_is_too_short_for_the_demo_is_refused(tmp_path):
    with gzip.open(tmp_path / "interactions.csv.gz", "wt") as file:
        file.write(HEADER + "1,0,p,1,Mean,1,1\n")

    with pytest.raises(BadInputError, match="fewer than two learners"):
        real_log(tmp_path, tmp_path, lambda _: None)


def test_a_log_of_another_form_is_refused(tmp_path):
    with gzip.open(tmp_path / "interactions.csv.gz", "wt") as file:
        file.write("learner,item\n1,2\n")

    with pytest.raises(BadInputError, match="lacks the columns"):
        real_log(tmp_path, tmp_path, lambda _: None)


@pytest.fixture
def district(tmp_path):
    settings = DistrictSettings(7, datetime(2026, 3, 13, 15, tzinfo=UTC), learners=48, classes=6, weeks=1)
    return simulated_district(settings, "3a", tmp_path)


def test_a_simulated_district_is_written_in_the_canonical_form(district):
    rows = list(read_events(district.events, Format.NDJSON))
    assert len(rows) == district.loaded
    assert all(isinstance(row, Row) and row.submission.source == "simulated-district" for row in rows)
    assert {row.submission.learner_id for row in rows} == set(district.learners)


def test_a_whole_class_of_the_district_answers_the_same_items_live(district):
    plays = [district.live, *district.others]

    assert district.roster == [f"sim-{number:04d}" for number in range(1, 49, 6)]
    assert len({play.learner_id for play in plays}) == 8
    items = {tuple(submission.body.item for submission in play.submissions) for play in plays}
    assert [len(answered) for answered in items] == [8]


def test_the_learner_who_is_shown_missed_the_most_of_those_to_whom_the_skill_was_new(tmp_path):
    def right(play):
        return sum(submission.body.outcome for submission in play.submissions)

    district = simulated_district(DISTRICT, "3a", tmp_path)
    skill = district.learning.skill
    assessing = {
        resource["id"]
        for resource in map(orjson.loads, district.resources.read_bytes().splitlines())
        if skill in {tag["skill"] for tag in resource.get("assesses", ())}
    }
    rows = read_events(district.events, Format.NDJSON)
    met = {row.submission.learner_id for row in rows if row.submission.body.activity in assessing}
    plays = [district.live, *district.others]
    new = [play for play in plays if play.learner_id not in met]
    assert min(map(right, plays)) < min(map(right, new))
    assert district.live in new
    assert right(district.live) == min(map(right, new))
    assert district.learning.learner_id == district.live.learner_id
