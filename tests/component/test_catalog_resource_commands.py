"""`cairn catalog import --format` against a CatalogService over real gRPC."""

import json
import zipfile

import pytest

from tests.catalogs import catalog_commands

SKILLS = [
    {"id": "s-area", "framework": "CCSS.Math", "code": "3.MD.C.7", "equivalents": ["http://example.org/3/MD/C/7"]},
    {"id": "s-add", "framework": "CCSS.Math", "code": "1.OA.A.1"},
]


@pytest.fixture
async def catalog(tmp_path):
    skills = tmp_path / "skills.jsonl"
    skills.write_text("\n".join(map(json.dumps, SKILLS)), encoding="utf-8")
    async with catalog_commands(tmp_path) as run:
        await run("import", "--skills", skills)
        yield run


async def stored(catalog, identifier):
    return json.loads((await catalog("get", "resource", identifier)).stdout)


def lesson(number, **properties):
    return {
        "@type": "LearningResource",
        "@id": f"https://example.org/{number}",
        "name": f"Lesson {number}",
    } | properties


def lrmi(file, *nodes):
    file.write_text(json.dumps({"@context": "https://schema.org", "@graph": nodes}), encoding="utf-8")
    return file


async def lrmi_import(catalog, file, *options):
    return await catalog(
        "import", "--resources", file, "--format", "lrmi", "--id-prefix", "https://example.org/", *options
    )


async def test_an_import_tags_by_uri_and_by_code_and_names_the_skills_that_the_catalog_does_not_have(catalog, tmp_path):
    terms = [{"@type": "DefinedTerm", "url": "https://example.org/3/MD/C/7/"}, "CCSS.Math.Content.1.OA.A.1", "9.X.Y.9"]
    file = lrmi(tmp_path / "a.json", lesson(1, teaches=terms), lesson(2, assesses="9.X.Y.9"))
    done = await lrmi_import(catalog, file, "--unresolved", tmp_path / "unresolved.jsonl")
    assert done.exit_code == 0
    assert "2 tags, 2 alignments without a skill" in done.stdout
    assert "1 without a skill: a skill that the catalog does not have (9.X.Y.9 of 2 resources)" in done.stdout
    lines = (tmp_path / "unresolved.jsonl").read_text(encoding="utf-8").splitlines()
    assert [(line["resource"], line["relation"], line["code"]) for line in map(json.loads, lines)] == [
        ("https://example.org/1", "teaches", "9.X.Y.9"),
        ("https://example.org/2", "assesses", "9.X.Y.9"),
    ]
    tags = [tag["skill"] for tag in (await stored(catalog, "https://example.org/1"))["teaches"]]
    assert tags == ["s-area", "s-add"]


async def test_a_second_import_writes_what_changed_and_retires_what_is_gone_until_it_comes_back(catalog, tmp_path):
    file = tmp_path / "a.json"
    await lrmi_import(catalog, lrmi(file, lesson(1), lesson(2), lesson(3)))
    shown = await lrmi_import(catalog, lrmi(file, lesson(1), lesson(2, name="New name"), lesson(4)), "--dry-run")
    assert "resources: 1 new, 1 changed, 1 unchanged" in shown.stdout
    assert "changed https://example.org/2 (title)" in shown.stdout
    assert "1 to retire, 0 to delete, 0 kept" in shown.stdout
    assert "retire https://example.org/3" in shown.stdout
    assert "status" not in await stored(catalog, "https://example.org/3")
    done = await lrmi_import(catalog, file)
    assert "resources: 3 written, 1 unchanged" in done.stdout
    assert "1 retired, 0 deleted, 0 kept" in done.stdout
    assert (await stored(catalog, "https://example.org/3"))["status"] == "retired"
    assert "0 retired" in (await lrmi_import(catalog, file)).stdout
    await lrmi_import(catalog, lrmi(file, lesson(3)), "--removed", "keep")
    assert "status" not in await stored(catalog, "https://example.org/3")


async def test_what_is_gone_is_deleted_when_the_command_says_so_and_kept_when_it_says_that(catalog, tmp_path):
    file = tmp_path / "a.json"
    await lrmi_import(catalog, lrmi(file, lesson(1), lesson(2)))
    assert "0 deleted, 1 kept" in (await lrmi_import(catalog, lrmi(file, lesson(1)), "--removed", "keep")).stdout
    assert "1 deleted, 0 kept" in (await lrmi_import(catalog, file, "--removed", "delete")).stdout
    assert (await catalog("get", "resource", "https://example.org/2")).exit_code == 1


async def test_deletions_that_stop_in_between_say_how_many_are_left_and_a_second_run_does_them(
    catalog, tmp_path, monkeypatch
):
    file = tmp_path / "a.json"
    await lrmi_import(catalog, lrmi(file, lesson(1), lesson(2), lesson(3), lesson(4)))
    append = catalog.log.append

    async def append_until_one_is_deleted(tenant, changes):
        version = await append(tenant, changes)
        catalog.log.reachable = not changes.removed
        return version

    monkeypatch.setattr(catalog.log, "append", append_until_one_is_deleted)
    stopped = await lrmi_import(catalog, lrmi(file, lesson(1, name="New")), "--removed", "delete")
    assert stopped.exit_code == 1
    assert "resources: 1 written, 0 unchanged" in stopped.stdout
    assert "no longer have: 1 deleted, 2 left; everything else was written. The same command again" in stopped.stderr
    monkeypatch.undo()
    catalog.log.reachable = True
    assert "2 deleted, 0 kept" in (await lrmi_import(catalog, file, "--removed", "delete")).stdout
    assert list(catalog.view.contents("riverbend").resources) == ["https://example.org/1"]


async def test_without_a_prefix_nothing_is_taken_for_gone(catalog, tmp_path):
    file = tmp_path / "a.json"
    await lrmi_import(catalog, lrmi(file, lesson(1), lesson(2)))
    done = await catalog("import", "--resources", lrmi(file, lesson(1)), "--format", "lrmi")
    assert "not looked for; --id-prefix would say which are theirs" in done.stdout
    assert "status" not in await stored(catalog, "https://example.org/2")


async def test_what_people_decided_about_a_resource_outlives_an_import(catalog, tmp_path):
    decided = {
        "id": "https://example.org/1", "title": "Old", "kind": "lesson", "difficulty": 0.3, "status": "draft",
        "teaches": [{"skill": "s-area", "weight": 0.5, "origin": "reviewed"}], "rejected_skills": ["s-add"],
    }  # fmt: skip
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps(decided), encoding="utf-8")
    await catalog("import", "--resources", own)
    await lrmi_import(catalog, lrmi(tmp_path / "a.json", lesson(1, teaches=["1.OA.A.1", "3.MD.C.7"])))
    assert await stored(catalog, "https://example.org/1") == decided | {
        "title": "Lesson 1",
        "url": "https://example.org/1",
    }


async def test_a_resource_without_a_name_refuses_the_import_and_is_named(catalog, tmp_path):
    file = lrmi(tmp_path / "a.json", lesson(1), lesson(2, name=""))
    refused = await lrmi_import(catalog, file)
    assert refused.exit_code == 2
    assert "@graph[1].name" in refused.stderr
    assert "is missing; give the resource a name" in refused.stderr
    assert (await catalog("get", "resource", "https://example.org/1")).exit_code == 1


async def test_invalid_resources_are_left_out_on_request_and_then_nothing_counts_as_removed(catalog, tmp_path):
    file = tmp_path / "a.json"
    await lrmi_import(catalog, lrmi(file, lesson(1), lesson(2)))
    lrmi(file, lesson(3), lesson(1, name=""), {"@type": "Quiz", "@id": "https://example.org/" + "x" * 250, "name": "Q"})
    done = await lrmi_import(catalog, file, "--invalid", "leave-out")
    assert done.exit_code == 0
    assert "left out 1: invalid" in done.stdout
    assert "@graph[1].name is missing; give the resource a name" in done.stdout
    assert "has 270 characters; at most 256 are allowed" in done.stdout
    assert "resources: 1 written" in done.stdout
    assert "0 retired, 0 deleted, 2 kept" in done.stdout


async def test_files_without_a_resource_end_the_command_instead_of_retiring_everything(catalog, tmp_path):
    await lrmi_import(catalog, lrmi(tmp_path / "a.json", lesson(1)))
    refused = await lrmi_import(catalog, lrmi(tmp_path / "a.json"))
    assert refused.exit_code == 2
    assert "nothing to import: the files have no resource" in refused.stderr
    assert "status" not in await stored(catalog, "https://example.org/1")


async def test_a_cartridge_is_imported_with_its_own_prefix(catalog, tmp_path):
    manifest = """<manifest identifier="m1"><organizations><organization><item identifierref="r1"><title>A quiz</title>
    </item></organization></organizations><resources><resource identifier="r1" href="quiz.xml"
    type="imsqti_xmlv1p2/imscc_xmlv1p3/assessment"><metadata><curriculumStandardsMetadataSet resourcePartId="q1">
    <curriculumStandardsMetadata><setOfGUIDs><labelledGUID><GUID>x</GUID><label>3.MD.C.7</label></labelledGUID>
    </setOfGUIDs></curriculumStandardsMetadata></curriculumStandardsMetadataSet></metadata></resource></resources>
    </manifest>"""
    file = tmp_path / "course.imscc"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("imsmanifest.xml", manifest)
        archive.writestr("quiz.xml", '<questestinterop><assessment title="Q"><section><item ident="q1" title="One"/>'
                         "</section></assessment></questestinterop>")  # fmt: skip
    done = await catalog("import", "--resources", file, "--format", "common-cartridge")
    assert "2 tags, 0 alignments without a skill" in done.stdout
    assert (await stored(catalog, "m1/r1"))["assesses"] == [{"skill": "s-area", "weight": 1.0}]
    assert await stored(catalog, "m1/q1") == {
        "id": "m1/q1", "title": "One", "kind": "assessment", "status": "retired",
        "assesses": [{"skill": "s-area", "weight": 1.0}],
    }  # fmt: skip
    again = await catalog("import", "--resources", file, "--format", "common-cartridge")
    assert "resources: 0 written, 2 unchanged" in again.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "csv"], "--mapping FILE belongs to --format csv"),
        (["--format", "lrmi", "--mapping", "m.yaml"], "--mapping FILE belongs to --format csv"),
        (["--id-prefix", "x/"], "--id-prefix is of other formats"),
    ],
    ids=["table-without-mapping", "mapping-without-table", "prefix-of-json-lines"],
)
async def test_options_that_contradict_each_other_are_refused(catalog, tmp_path, options, message):
    refused = await catalog("import", "--resources", tmp_path / "a", *options)
    assert refused.exit_code == 2
    assert message in refused.stderr
