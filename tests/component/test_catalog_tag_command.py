"""`cairn catalog tag` against a CatalogService over real gRPC, with an in-memory log."""

import json
from dataclasses import replace

import numpy as np
import pytest

from services.catalog.domain.contents import Changes
from services.catalog.domain.model import Resource, Skill, SkillTag, TagOrigin
from services.catalog.domain.reviews import rejected
from services.catalog.tagging.served import TaggerFolders
from services.common.resource_kinds import ResourceKindName
from tests.catalogs import catalog_commands

TOPICS = {
    "fractions": "numerator denominator halves thirds simplify",
    "triangles": "angle hypotenuse adjacent opposite vertex",
    "chance": "dice coin outcome event likely",
    "decimals": "tenths hundredths point place round",
}
FILLER = ["find", "look", "write", "show", "explain", "give", "each", "name", "tell", "choose", "work", "check", "draw"]


def resource(topic, number, rng, *, tagged=True, kind=ResourceKindName.PRACTICE):
    words = [*rng.choice(TOPICS[topic].split(), 3, replace=False), *rng.choice(FILLER, 5, replace=False)]
    tags = (SkillTag(topic, 1.0),) if tagged else ()
    return Resource(f"{topic}-{number:03}", " ".join(words), kind, provider="School", teaches=tags)


@pytest.fixture
async def catalog(tmp_path):
    async with catalog_commands(tmp_path, columns=80) as run:

        async def tag(*options):
            return await run("tag", *options)

        tag.log, tag.view = run.log, run.view
        yield tag


async def fill(log, *, tagged=60, bare=6):
    rng = np.random.default_rng(0)
    resources = [resource(topic, number, rng) for topic in TOPICS for number in range(tagged)]
    resources += [resource(topic, 900 + number, rng, tagged=False) for topic in TOPICS for number in range(bare)]
    await log.append("riverbend", Changes((*[Skill(topic) for topic in TOPICS], *resources)))


def found(catalog):
    return catalog.view.contents("riverbend").resources


async def test_the_most_confident_suggestions_are_shown_and_nothing_is_written(catalog):
    await fill(catalog.log)
    before = len(catalog.log.resources)
    done = await catalog("--limit", "5")
    assert done.exit_code == 0, done.output
    assert "... and 19 more resources: show them with --limit or --json" in done.stdout
    assert "learned from 240 tagged resources of 4 skills, 0 of them with fewer than 5" in done.stdout
    assert max(map(len, done.stdout.splitlines()[:10])) <= 80
    assert len(catalog.log.resources) == before


async def test_tags_supported_by_held_out_precision_are_applied_with_origin_and_confidence(catalog):
    await fill(catalog.log)
    done = await catalog("--apply-above", "0.9")
    assert done.exit_code == 0, done.output
    assert "are sure enough" in done.stdout
    assert "at least 9" in done.stdout
    applied = [one for one in found(catalog).values() if one.id.endswith(("900", "901", "902", "903", "904", "905"))]
    tags = [(one.id.partition("-")[0], tag) for one in applied for tag in one.teaches]
    assert len(tags) >= 12
    assert np.mean([topic == tag.skill for topic, tag in tags]) > 0.9
    assert {tag.origin for _, tag in tags} == {TagOrigin.SUGGESTED}
    assert all(0 < tag.confidence < 1 for _, tag in tags)
    assert all(one.provider == "School" and one.kind is ResourceKindName.PRACTICE for one in applied)


async def test_suggestions_for_an_assessment_become_assessed_skills(catalog):
    await fill(catalog.log, bare=0)
    rng = np.random.default_rng(9)
    quiz = resource("chance", 999, rng, tagged=False, kind=ResourceKindName.ASSESSMENT)
    await catalog.log.append("riverbend", Changes((quiz,)))
    await catalog("--apply-above", "0.9")
    assert [tag.skill for tag in found(catalog)["chance-999"].assesses] == ["chance"]
    assert not found(catalog)["chance-999"].teaches


async def test_a_dry_run_shows_what_would_be_written_and_writes_nothing(catalog):
    await fill(catalog.log)
    before = len(catalog.log.resources)
    done = await catalog("--apply-above", "0.9", "--dry-run")
    assert "would be written, of 24 without skills" in done.stdout
    assert len(catalog.log.resources) == before


async def test_nothing_is_applied_where_the_precision_is_not_supported(catalog):
    # A few examples can be right every time and still not prove 99.9 %.
    await fill(catalog.log, tagged=8)
    before = len(catalog.log.resources)
    done = await catalog("--apply-above", "0.999")
    assert done.exit_code == 0
    assert "no tag is sure enough to be written" in done.stdout
    assert "0 tags of 0 resources written, of 24 without skills" in done.stdout
    assert len(catalog.log.resources) == before


async def test_json_has_every_suggestion_with_one_line_per_resource(catalog):
    await fill(catalog.log)
    done = await catalog("--json", "--per-resource", "2", "--apply-above", "0.9", "--dry-run")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 24
    first = lines[0]["suggestions"]
    assert [one.keys() for one in first] == [{"skill", "confidence", "apply"}] * 2
    assert first[0]["confidence"] >= first[1]["confidence"]
    assert "sure enough" in done.stderr


async def test_the_tagger_does_not_learn_from_its_own_suggestions(catalog):
    await fill(catalog.log)
    await catalog("--apply-above", "0.9")
    await catalog.log.append("riverbend", Changes((Resource("new", "dice coin outcome", ResourceKindName.GAME),)))
    done = await catalog()
    assert "learned from 240 tagged resources" in done.stdout


async def test_reviewed_tags_are_learned_from(catalog):
    await fill(catalog.log)
    one = found(catalog)["chance-900"]
    reviewed = replace(one, teaches=(SkillTag("chance", 1.0, TagOrigin.REVIEWED, 0.8),))
    await catalog.log.append("riverbend", Changes((reviewed,)))
    assert "learned from 241 tagged resources" in (await catalog()).stdout


async def test_a_saved_tagger_gives_the_same_suggestions(catalog, tmp_path):
    await fill(catalog.log)
    folder = tmp_path / "tagger"
    fitted = await catalog("--json", "--model", str(folder))
    kept = await catalog("--json", "--model", str(folder))
    assert (folder / "manifest.json").is_file()
    assert kept.stdout == fitted.stdout


async def test_a_tagger_of_another_catalog_is_refused(catalog, tmp_path):
    await fill(catalog.log)
    await catalog("--model", str(tmp_path / "tagger"))
    catalog.view.contents("riverbend").skills.remove("chance")
    done = await catalog("--model", str(tmp_path / "tagger"))
    assert done.exit_code == 2
    assert "knows the skill 'chance', which the catalog does not have" in done.stderr


async def test_too_few_examples_are_reported_with_the_remedy(catalog):
    await fill(catalog.log, tagged=2)
    done = await catalog()
    assert done.exit_code == 1
    assert "there are 8 tagged resources" in done.stderr
    assert "tag more resources by hand first" in done.stderr


async def test_a_catalog_without_untagged_resources_needs_no_suggestions(catalog):
    await fill(catalog.log, bare=0)
    assert "every resource has skills already" in (await catalog()).stdout


async def test_a_refit_learns_from_reviews_and_does_not_repeat_rejected_suggestions(catalog, tmp_path):
    await fill(catalog.log)
    folder = tmp_path / "taggers" / "riverbend"
    assert (await catalog("--model", str(folder), "--json")).exit_code == 0
    before = (folder / "manifest.json").read_bytes()
    first = next(resource for resource in found(catalog).values() if not resource.teaches)
    await catalog.log.append("riverbend", Changes((rejected(first, first.id.rpartition("-")[0]),)))
    result = await catalog("--model", str(folder), "--refit", "--json")
    assert result.exit_code == 0, result.stderr
    assert (folder / "manifest.json").is_file()
    assert before
    for line in result.stdout.splitlines():
        suggested = json.loads(line) if line.startswith("{") else {}
        if suggested.get("id") == first.id:
            assert first.id.rpartition("-")[0] not in [one["skill"] for one in suggested["suggestions"]]


async def test_traffic_is_stored_with_the_tagger_for_the_service(catalog, tmp_path):
    await fill(catalog.log)
    table = tmp_path / "counts.csv"
    table.write_text("resource_id,responses\nchance-900,12\n")
    folders = TaggerFolders(tmp_path / "taggers")
    result = await catalog("--model", str(tmp_path / "taggers" / "riverbend"), "--traffic", str(table))
    assert result.exit_code == 0, result.stderr
    folders.refresh()
    assert folders.traffic("riverbend") == {"chance-900": 12}
    (suggested,) = folders.of("riverbend").suggest(["dice coin outcome"], 1)
    assert suggested[0].examples > 0


async def test_a_refit_or_traffic_without_a_folder_is_refused(catalog):
    result = await catalog("--refit")
    assert result.exit_code == 2
    assert "name its folder with --model" in result.stderr
