"""`cairn catalog import --framework` and `cairn catalog export` against a CatalogService over real gRPC."""

import json

import pytest

from tests.catalogs import catalog_commands


@pytest.fixture
async def catalog(tmp_path):
    async with catalog_commands(tmp_path) as run:
        yield run


async def test_the_shipped_progression_is_imported_once_and_then_unchanged(catalog):
    first = await catalog("import", "--framework", "ccss-math")
    assert "ccss-math: 480 skills, 757 prerequisites, 480 skills with names in other frameworks" in first.stdout
    assert "skills: 480 written, 0 unchanged" in first.stdout
    assert "skills: 0 written, 480 unchanged" in (await catalog("import", "--framework", "ccss-math")).stdout


async def test_a_dry_run_says_what_would_change_and_writes_nothing(catalog, tmp_path):
    await catalog("import", "--framework", "ccss-math")
    file = tmp_path / "skills.jsonl"
    same = json.loads((await catalog("get", "skill", "K.CC.A.1")).stdout)
    records = [same, same | {"id": "K.CC.A.2", "statement": "Other"}, {"id": "new"}]
    file.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    shown = (await catalog("import", "--skills", file, "--dry-run")).stdout
    assert "skills: 1 new, 1 changed, 1 unchanged" in shown
    assert "new new" in shown
    assert "changed K.CC.A.2 (code, statement, equivalents)" in shown
    assert (await catalog("get", "skill", "new")).exit_code == 1


async def test_what_is_exported_as_case_is_imported_as_the_same_skills(catalog, tmp_path):
    await catalog("import", "--framework", "ccss-math")
    exported = await catalog("export", "--as", "case", "--framework", "CCSS.Math")
    file = tmp_path / "case.json"
    file.write_text(exported.stdout, encoding="utf-8")
    again = await catalog("import", "--framework", file)
    assert "CCSS.Math: 480 skills, 757 prerequisites" in again.stdout
    assert "skills: 0 written, 480 unchanged" in again.stdout


async def test_an_export_of_a_framework_that_is_not_there_names_those_that_are(catalog):
    await catalog("import", "--framework", "ccss-math")
    refused = await catalog("export", "--framework", "TEKS")
    assert refused.exit_code == 2
    assert "no skill is of the framework 'TEKS'; the catalog has: CCSS.Math" in refused.stderr


async def test_a_framework_with_a_problem_is_not_imported(catalog, tmp_path):
    file = tmp_path / "case.json"
    items = [{"identifier": "a", "fullStatement": "x"}, {"fullStatement": "y"}]
    file.write_text(json.dumps({"CFDocument": {"title": "T"}, "CFItems": items}), encoding="utf-8")
    refused = await catalog("import", "--framework", file)
    assert refused.exit_code == 2
    assert "CFItems[1].identifier" in refused.stderr
    assert (await catalog("get", "skill", "a")).exit_code == 1


async def test_a_problem_of_one_of_several_files_names_that_file(catalog, tmp_path):
    item = {"identifier": "a", "fullStatement": "x"}
    for name, items in (("good", [item]), ("bad", [{"identifier": "b"}])):
        package = {"CFDocument": {"title": name}, "CFItems": items}
        (tmp_path / f"{name}.json").write_text(json.dumps(package), encoding="utf-8")
    options = [each for name in ("good", "bad") for each in ("--framework", tmp_path / f"{name}.json")]
    refused = await catalog("import", *options)
    assert refused.exit_code == 2
    row = " ".join(refused.stderr.split())
    assert "bad.json CFItems[0].fullStatement is missing" in row
    assert "good.json" not in row


async def test_what_is_left_out_is_counted_with_examples(catalog, tmp_path):
    file = tmp_path / "case.json"
    items = [{"identifier": name, "fullStatement": name} for name in "ab"]
    links = [
        {"associationType": "isRelatedTo", "originNodeURI": "a", "destinationNodeURI": "b"},
        {"associationType": "precedes", "originNodeURI": "a", "destinationNodeURI": "b"},
    ]
    package = {"CFDocument": {"identifier": "d", "title": "T"}, "CFItems": items, "CFAssociations": links}
    file.write_text(json.dumps(package), encoding="utf-8")
    shown = (await catalog("import", "--framework", file)).stdout
    assert "T: 2 skills, 1 prerequisites" in shown
    assert "left out 1: isRelatedTo: it says neither what comes first nor that both are the same (a -> b)" in shown
    assert json.loads((await catalog("get", "skill", "b")).stdout)["prerequisites"] == ["a"]
