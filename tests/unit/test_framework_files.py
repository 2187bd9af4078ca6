"""Frameworks as publishers ship them, and the one that ships with the project."""

from __future__ import annotations

import difflib
import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from services.catalog.domain.validation.imports import check_import
from services.catalog.formats.frameworks.contents import with_codes_as_ids
from services.catalog.formats.frameworks.files import read_frameworks, with_official_text
from services.catalog.formats.jsonl import FileUnreadableError
from services.recommender.domain.ranking.same_skills import equivalent_slots
from tests.formats.checks import FIXTURES

SMARTER_BALANCED = FIXTURES / "case-smarterbalanced" / "mockMATH.json"
ASN = FIXTURES / "asn-ccss-math" / "example_-_D10003FB.json"
COHERENCE_MAP = FIXTURES.parent / "data" / "ccss" / "coherence.json.gz"
SHIPPED = Path("ccss-math")


def present(*files):
    for file in files:
        if not file.is_file():
            pytest.skip(f"{file} is absent")


def words(text):
    return re.findall(r"\w+", text.lower())


def test_the_smarter_balanced_mathematics_package_is_imported_with_its_usable_edges():
    present(SMARTER_BALANCED)
    raw = json.loads(SMARTER_BALANCED.read_text(encoding="utf-8"))
    items = {each["identifier"] for each in raw["CFItems"]}
    usable = [
        edge
        for each in raw["CFAssociations"]
        if each["associationType"] == "precedes"
        and items.issuperset(edge := (each["originNodeURI"]["identifier"], each["destinationNodeURI"]["identifier"]))
    ]
    assert len(usable) == 420  # As the issue counts them; one is said twice.
    contents = read_frameworks([SMARTER_BALANCED])
    assert {(needed, skill.id) for skill in contents.skills for needed in skill.prerequisites} == set(usable)
    assert check_import(contents.skills, [], {}) == []
    reasons = Counter(each.reason for each in contents.left_out if "precedes" in each.reason)
    assert reasons == {
        "precedes from or to an item that the file does not have": 3,
        "precedes that is said again; it counts once": 1,
    }


def test_its_codes_may_be_ids():
    present(SMARTER_BALANCED)
    contents = with_codes_as_ids(read_frameworks([SMARTER_BALANCED]))
    by_id = {skill.id: skill for skill in contents.skills}
    assert "M.G3.C1OA.TA.3.OA.A.1" in by_id["M.G4.C1OA.TA"].prerequisites
    assert check_import(contents.skills, [], {}) == []


def test_the_shipped_progression_is_valid_and_has_the_standards_and_edges_of_the_map():
    present(COHERENCE_MAP)
    with gzip.open(COHERENCE_MAP) as stream:
        map_of = json.load(stream)

    def code(identifier):
        standard = map_of["standards"][identifier]
        cluster = map_of["clusters"][standard["ccmathcluster_id"]]
        domain = map_of["domains"][cluster["ccmathdomain_id"]]
        grade = "HS" if domain["grade"] == "HS" else f"{domain['grade']}."
        return f"{grade}{domain['ordinal']}.{cluster['ordinal']}.{standard['ordinal'].replace('.', '')}"

    contents = read_frameworks([SHIPPED])
    assert check_import(contents.skills, [], {}) == []
    assert {skill.id for skill in contents.skills} == set(map(code, map_of["standards"]))
    edges = {(needed, skill.id) for skill in contents.skills for needed in skill.prerequisites}
    assert edges == {(code(edge["from"]), code(edge["to"])) for edge in map_of["edges"]}
    assert len(edges) == 757


def test_its_statements_are_not_the_text_of_the_standards():
    present(ASN)
    official = {
        skill.code.removeprefix("CCSS.Math.Content."): skill.statement for skill in read_frameworks([ASN]).skills
    }
    for skill in read_frameworks([SHIPPED]).skills:
        own, text = words(skill.statement), words(official.get(skill.id, ""))
        same = difflib.SequenceMatcher(None, text, own, autojunk=False).find_longest_match().size
        assert same < 6, (skill.id, skill.statement)
        assert same < 0.8 * len(own), (skill.id, skill.statement)


def test_no_two_of_its_statements_are_equal():
    assert Counter(skill.statement for skill in read_frameworks([SHIPPED]).skills).most_common(1)[0][1] == 1


def test_a_users_own_copy_adds_the_official_text_and_its_names():
    present(ASN)
    contents = with_official_text(read_frameworks([SHIPPED]), read_frameworks([ASN]))
    by_id = {skill.id: skill for skill in contents.skills}
    assert by_id["3.MD.C.7"].statement == "Relate area to the operations of multiplication and addition."
    assert {"S114348C", "http://purl.org/ASN/resources/S114348C"} <= set(by_id["3.MD.C.7"].equivalents)
    assert by_id["HSG-SRT.A.1a"].statement.startswith("A dilation takes a line")
    assert contents.left_out == []
    assert check_import(contents.skills, [], {}) == []


def test_other_frameworks_find_the_shipped_one_through_names_that_both_have():
    present(SMARTER_BALANCED, ASN)
    skills = read_frameworks([SHIPPED, SMARTER_BALANCED, ASN]).skills
    same = equivalent_slots([(skill.id, *skill.equivalents) for skill in skills])
    codes = {skill.id: {skills[slot].code for slot in slots} for skill, slots in zip(skills, same, strict=True)}
    assert codes["3.OA.A.1"] == {"M.G3.C1OA.TA.3.OA.A.1", "CCSS.Math.Content.3.OA.A.1"}
    # Which standard a measured skill of Smarter Balanced is, its own code says, too.
    for skill in skills[:480]:
        for code in codes[skill.id]:
            assert code.replace("-", ".").endswith(skill.code.replace("-", ".")), (skill.code, code)


def test_what_is_no_json_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    with pytest.raises(FileUnreadableError, match=r"is no JSON .*; name a file of CASE or ASN"):
        read_frameworks([tmp_path / "a.json"])
    (tmp_path / "b.json").write_bytes(gzip.compress(b"{}")[:-4])
    with pytest.raises(FileUnreadableError, match="is damaged gzip"):
        read_frameworks([tmp_path / "b.json"])
    with pytest.raises(FileUnreadableError, match="no framework that Cairn ships \\(ccss-math\\)"):
        read_frameworks([Path("ccss-physics")])


def test_a_code_that_is_the_id_already_is_not_left_out_as_one():
    contents = with_codes_as_ids(read_frameworks([Path("ccss-math")]))
    assert len(contents.skills) == 480
    assert contents.left_out == []
