"""`cairn export mastery` from a real broker and Redis: libraries that did not write the files read the same in each."""

from __future__ import annotations

import asyncio
import csv
import json
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
import python_calamine
import redis.asyncio
import yaml
from typer.testing import CliRunner

from cairn.v1 import catalog_pb2
from services.common.auth.identity import pseudonym
from services.common.kafka.envelope import SKILLS, record_key
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.bootstrap import worker as bootstrap_worker
from services.recommender.cli.epochs import app as epochs_app
from services.recommender.cli.export import app
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID
from tests.learner_events import TENANT, WHEN, Record, message, publish, record

SECRET = bytes(range(16))
# By learner and skill: the answers, in order. One learner is of no table, one id begins as a formula.
ANSWERS = {
    ("ada", "add"): [1, 1, 1, 1, 1, 1],
    ("ada", "=divide"): [0, 1],
    ("-ben", "add"): [0, 0, 0, 0],
    ("eve", "add"): [1],
}
TABLE_LEARNERS = ("ada", "-ben", "zoe")


def events():
    """Each response an hour after the one before."""
    number = 0
    for (learner, skill), answers in ANSWERS.items():
        for correct in answers:
            said = message(number, skills=[skill], correct=bool(correct), response=float(correct))
            said.learner = pseudonym(SECRET, learner)
            said.occurred_at.FromDatetime(WHEN + timedelta(hours=number))
            number += 1
            yield record(said)


def expected():
    """By learner and skill: the skill's name, responses, successes and the time of the last response."""
    hours, found = -1, {}
    for (learner, skill), answers in ANSWERS.items():
        hours += len(answers)
        shown = learner if learner in TABLE_LEARNERS else pseudonym(SECRET, learner)
        name = "Add within 20" if skill == "add" else None
        found[shown, skill] = (name, len(answers), sum(answers), WHEN + timedelta(hours=hours))
    return found


@pytest.fixture
def export(fresh_kafka_broker, redis_server, tmp_path, monkeypatch):
    """Exports a kind of file of a log that was folded into Redis; returns the file."""
    connection = fresh_kafka_broker.connection
    tenants = tmp_path / "tenants.yaml"
    tenants.write_text(yaml.safe_dump({"tenants": {TENANT: {"secret": SECRET.hex()}}}))
    tenants.chmod(0o600)
    (tmp_path / "people.csv").write_text("id\n" + "".join(f"{learner}\n" for learner in TABLE_LEARNERS))
    settings = {
        "CAIRN_KAFKA": connection.bootstrap_servers,
        "CAIRN_KAFKA_FETCH_WAIT_MS": str(connection.fetch_wait_ms),
        "CAIRN_REDIS": redis_server,
        "CAIRN_BUNDLES": str(tmp_path / "bundles"),
        "CAIRN_TENANTS": str(tenants),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(bootstrap_worker, "collect_garbage_seldom", lambda: None)
    monkeypatch.chdir(tmp_path)
    skill = catalog_pb2.Skill(id="add", statement="Add within 20")
    other = message(999, "ada", tenant="lakeside")

    async def epochs(action):
        async with redis.asyncio.Redis.from_url(redis_server) as client:
            await action(RedisEpochs(client))

    async def begin(stored):
        await publish(connection, [*events(), record(other)])
        await publish(connection, [Record(record_key(TENANT, "add"), skill.SerializeToString(), partition=0)], SKILLS)
        identity = await KafkaLog(connection).identity()
        await stored.create(EpochMeta(1, EpochStatus.LIVE, PRIOR_PARAMETERS_ID, "", identity, {}))
        await stored.make_current(1)

    asyncio.run(epochs(begin))
    run("replay", "--epoch", "2", "--parameters", "same", of=epochs_app)
    asyncio.run(epochs(lambda stored: stored.make_current(2)))

    def exported(kind, *options):
        run("mastery", "--tenant", TENANT, "--to", "out", "--as", kind, "--learners", "people.csv", *options)
        (file,) = (tmp_path / "out").rglob("part-00000." + {"edfi": "jsonl"}.get(kind, kind))
        return file

    return exported


def run(*arguments, of=app):
    result = CliRunner().invoke(of, list(arguments))
    assert result.exit_code == 0, result.output


def of_csv(file):
    with file.open(newline="", encoding="utf-8") as opened:
        for row in csv.DictReader(opened):
            at = datetime.strptime(row["last_response_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
            texts = [row[name].removeprefix("'") for name in ("learner", "skill")]
            yield *texts, row["skill_name"] or None, row["mastery"], row["responses"], row["successes"], at


def of_workbook(file):
    header, *rows = python_calamine.load_workbook(file).get_sheet_by_index(0).to_python()
    for cells in rows:
        row = dict(zip(header, cells, strict=True))
        at = row["last_response_at"].replace(tzinfo=UTC)
        numbers = (row["mastery"], row["responses"], row["successes"])
        yield row["learner"], row["skill"], row["skill_name"] or None, *numbers, at


def of_parquet(file):
    columns = "learner, skill, skill_name, mastery, responses, successes, epoch_us(last_response_at)"
    for *cells, at_us in duckdb.sql(f"SELECT {columns} FROM read_parquet('{file}')").fetchall():
        yield *cells, datetime.fromtimestamp(at_us / 1e6, UTC)


def test_csv_workbook_and_parquet_say_the_same_of_each_learner_and_skill(export):
    masteries = []
    for kind, rows in (("csv", of_csv), ("xlsx", of_workbook), ("parquet", of_parquet)):
        read = list(rows(export(kind)))
        found = {
            (learner, skill): (name, int(responses), float(successes), at)
            for learner, skill, name, _, responses, successes, at in read
        }
        assert found == expected(), kind
        assert len(read) == len(found)
        masteries.append({(learner, skill): float(mastery) for learner, skill, _, mastery, *_ in read})
    assert masteries[0] == pytest.approx(masteries[1], abs=1e-12)
    assert masteries[1] == pytest.approx(masteries[2], abs=1e-12)
    eve = pseudonym(SECRET, "eve")
    assert 0 < masteries[0]["-ben", "add"] < masteries[0][eve, "add"] < masteries[0]["ada", "add"] < 1


def test_ed_fi_has_an_assessment_per_learner_with_the_skills_of_the_table(export):
    rows = {(row[0], row[1]): row for row in of_parquet(export("parquet"))}
    file = export("edfi", "--namespace", "uri://district.example")
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        resource = json.loads(line)
        for objective in resource["studentObjectiveAssessments"]:
            skill = objective["objectiveAssessmentReference"]["identificationCode"]
            scores = {
                score["assessmentReportingMethodDescriptor"].partition("#")[2]: score["result"]
                for score in objective["scoreResults"]
            }
            found[resource["studentReference"]["studentUniqueId"], skill] = scores
    assert found.keys() == rows.keys()
    for key, scores in found.items():
        assert float(scores["Chance of success"]) == pytest.approx(rows[key][3], abs=1e-4)
        assert int(scores["Responses"]) == rows[key][4]
