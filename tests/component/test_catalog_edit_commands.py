"""`cairn catalog put`, `delete`, `rules` and `contradictions` against a CatalogService over real gRPC."""

import asyncio
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from services.catalog.cli.catalog import app
from services.catalog.domain.contents import Changes
from services.catalog.domain.model import Resource, Skill, SkillTag
from services.common.resource_kinds import ResourceKindName
from tests.component.test_catalog_grpc import catalog  # noqa: F401 - a fixture.
from tests.unit.test_tag_contradictions import PER_SKILL, PLANTED, RIGHT, SKILLS, simulated

# ruff: noqa: F811 - tests take the fixture by its name.

RULES = """
- id: unit-3
  action: pin
  resource_ids: [r1]
  author: teacher-7
  classes: [4b]
  expires_at: 2100-03-20T15:00:00Z
  note: The test is on Friday.
- {id: less-birch, action: boost, providers: [birch], factor: 0.5, author: teacher-7}
"""


@pytest.fixture
def run(catalog):
    environment = {"CAIRN_API_KEY": catalog.api_keys["riverbend"], "CAIRN_TARGET_CATALOG": catalog.address}
    runner = CliRunner(env=environment | {"COLUMNS": "160"})

    async def invoke(*arguments):
        return await asyncio.to_thread(runner.invoke, app, list(map(str, arguments)))

    return invoke


@pytest.fixture
def file(tmp_path):
    def write(content, name="file"):
        path = tmp_path / name
        path.write_text(content)
        return path

    return write


async def test_some_records_are_put_and_one_is_removed(run, file, catalog):
    skills = file('{"id": "a"}\n{"id": "b", "prerequisites": ["a"]}\n')
    result = await run("put", "skill", skills)
    assert "skills: 2 written, 0 unchanged, 0 not as expected, 0 rejected\n" in result.stdout
    assert "skills: 0 written, 2 unchanged" in (await run("put", "skill", skills)).stdout
    result = await run("delete", "skill", "a")
    assert result.exit_code == 1
    assert "skill 'a' is used by skill 'b'" in result.stderr
    assert (await run("delete", "skill", "b")).exit_code == 0
    assert list(catalog.view.contents("riverbend").skills) == ["a"]


async def test_problems_are_shown_by_line_and_the_rest_is_written(run, file, catalog):
    resources = file(
        '{"id": "r1", "title": "R", "kind": "game"}\n{"id": "r2", "title": "R", "kind": "game", "minutes": 0}\n'
    )
    result = await run("put", "resource", resources)
    assert result.exit_code == 2
    assert "1 written, 0 unchanged, 0 not as expected, 1 rejected" in result.stdout
    (line,) = result.stderr.splitlines()[1:]
    assert line.split()[:2] == [f"{resources}:2", "minutes"]
    assert list(catalog.view.contents("riverbend").resources) == ["r1"]


async def test_a_record_is_written_only_if_it_has_not_changed_since_it_was_read(run, file):
    await run("put", "skill", file('{"id": "a"}\n'))
    got = await run("get", "skill", "a", "--etag")
    etag = got.stderr.strip()
    changed = file('{"id": "a", "code": "A"}\n', "changed")
    assert (await run("put", "skill", changed, "--etag", etag)).exit_code == 0
    again = await run("put", "skill", file('{"id": "a", "code": "B"}\n', "again"), "--etag", etag)
    assert again.exit_code == 1
    assert "is not as expected: it has the etag" in again.stderr
    new = await run("put", "skill", changed, "--new")
    assert (new.exit_code, "1 not as expected" in new.stdout) == (1, True)
    assert (await run("put", "skill", changed, "--new", "--etag", etag)).exit_code == 2


async def test_rules_are_added_listed_and_removed(run, file, catalog):
    await run("put", "resource", file('{"id": "r1", "title": "R", "kind": "game"}\n'))
    result = await run("rules", "put", file(RULES, "rules.yaml"))
    assert result.exit_code == 0, result.stderr
    table = (await run("rules", "list")).stdout.splitlines()
    assert [line.split()[:2] for line in table[1:]] == [["less-birch", "boost"], ["unit-3", "pin"]]
    listed = (await run("rules", "list", "--json")).stdout
    end = len(catalog.log.rules)
    assert (await run("rules", "put", file(listed, "again.json"))).exit_code == 0
    assert len(catalog.log.rules) == end
    assert (await run("rules", "delete", "unit-3")).exit_code == 0
    assert list(catalog.view.contents("riverbend").rules) == ["less-birch"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{id: r, action: pin, author: t}", "rule.resource_ids: is empty, and so is providers"),
        ("{id: r, action: pin, author: t, resource_ids: [gone]}", "resource 'gone' is not in the catalog"),
        ("{id: r, action: hide, author: t}", "rule 0: action 'hide'"),
        ("{id: r, author: t}", "rule 0: action is missing; give one"),
        (
            "{id: r, action: pin, author: t, resource: x}",
            "rule 0: resource is not a known column; known are id, action",
        ),
        ("{id: r, action: pin, author: t, expires_at: 2026-03-20}", "rule 0: expires_at"),
        ("{id: r, action: pin, author: t, id: s}", "the key 'id' is there twice in one mapping: keep one"),
        ("[", "is neither YAML nor JSON"),
    ],
)
async def test_a_rule_that_is_wrong_is_refused_with_the_field(run, file, content, reason):
    result = await run("rules", "put", file(content))
    assert result.exit_code == 2
    assert reason in result.stderr


async def test_a_preview_without_a_recommender_is_an_error(run, file):
    rule = file("{id: r, action: block, author: t, resource_ids: [r1]}")
    result = await run("rules", "preview", rule, "--learner", "amy", "--target-recommender", "127.0.0.1:1")
    assert result.exit_code == 1
    assert "no recommendation service answers at 127.0.0.1:1: start it, or name another with --target-recommender" in (
        result.stderr
    )


async def test_contradictions_are_shown_with_the_skill_that_fits_better(run, file, catalog):
    tags = RIGHT | PLANTED
    resources = [
        Resource(name, name, ResourceKindName.PRACTICE, teaches=(SkillTag(tags[name][0], 1.0),)) for name in tags
    ]
    skills = [Skill(f"s{number}") for number in range(SKILLS)]
    await catalog.log.append("riverbend", Changes((*skills, *resources)))
    data = simulated()
    rows = zip(data.learner, data.resource, data.correct.astype(np.int64), strict=True)
    lines = [f"{data.learners[learner]},{data.resources[resource]},{correct}" for learner, resource, correct in rows]
    table = file("\n".join(["learner,item,correct", *lines]), "responses.csv")
    result = await run("contradictions", table, "--json")
    assert result.exit_code == 0, result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert {one["resource_id"]: one["fits_better"] for one in found} == {name: RIGHT[name][0] for name in PLANTED}
    assert {(one["evidence"], one["resource_id"]) for one in found} == {
        (evidence, name) for evidence in ("outcome", "company") for name in PLANTED
    }
    judged = SKILLS * PER_SKILL
    assert (
        f"by outcome 3 contradictions among {judged} tags that could be judged, by neighbour context 3 among {judged}"
        in (result.stderr)
    )
    shown = (await run("contradictions", table)).stdout
    assert shown.index("By outcome") < shown.index("By neighbour context")
    assert shown.count("fits better") == 2


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("put",), ("--etag", "--new", "Exits with 2", "import")),
        (("delete",), ("retired", "uses cannot be removed")),
        (("rules",), ("unit-3-review", "A block always wins", "factor")),
        (("rules", "preview"), ("without writing it", "--learner", "--removed")),
        (("contradictions",), ("Changes nothing", "fewer than 30", "practised mixed")),
    ],
)
async def test_help_explains_the_command(run, command, words):
    result = await run(*command, "--help")
    assert result.exit_code == 0
    text = " ".join(result.stdout.replace("│", " ").split())
    for word in words:
        assert word in text
