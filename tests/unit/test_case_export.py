"""Skills as CASE: the publisher's schema accepts them, and reading them back gives the same skills."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

import pytest

from services.catalog.domain.model import Skill
from services.catalog.formats.frameworks.case import read_case
from services.catalog.formats.frameworks.case_export import case_packages
from services.catalog.formats.frameworks.case_extension import guid_of
from tests.formats.checks import FIXTURES

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
ONE, TWO, THREE = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
SKILLS = [
    Skill(ONE, "F", "A", "Count", grades=("K",)),
    Skill(TWO, "F", "B", "Add", (ONE,), ("1", "2"), equivalents=(THREE, "urn:x:B"), parent=ONE),
]


def test_skills_survive_an_export_and_an_import():
    (package,) = case_packages(SKILLS, "https://x.org/", NOW)
    read = read_case(json.loads(json.dumps(package)))
    assert read.problems == []
    assert read.skills == SKILLS


# Ids that are no GUIDs, and what CASE has no place for: empty fields, an importance, a parent that is not exported.
OWN = [
    Skill("3.OA.A.1", "F", "A", "Multiply", importance=0.5, parent="not here"),
    Skill("3.OA/A 2", "F", "3.OA/A 2", "Divide", ("3.OA.A.1",), equivalents=("3.OA.A.1", ONE), parent="3.OA.A.1"),
    Skill("bare"),
    Skill(ONE, prerequisites=("bare", "3.OA/A 2"), importance=0.0),
]


def test_skills_with_ids_of_their_own_survive_an_export_and_an_import():
    read = read_case(json.loads(json.dumps(case_packages(OWN, "https://x.org/", NOW))))
    assert read.problems == read.left_out == []
    assert sorted(read.skills, key=lambda each: each.id) == sorted(OWN, key=lambda each: each.id)


def test_an_id_is_taken_back_only_if_the_identifier_was_made_from_it():
    (package,) = case_packages([Skill("one", "F", "A", "x")], "https://x.org/", NOW)
    package["CFItems"][0]["extensions"]["cairn"]["id"] = "other"
    assert [skill.id for skill in read_case(package).skills] == [guid_of("one")]


def test_links_of_others_to_an_exported_item_lead_to_its_own_id():
    (package,) = case_packages([Skill("one", "F", "A", "x")], "https://x.org/", NOW)
    match = {"associationType": "exactMatchOf", "originNodeURI": {"identifier": TWO}}
    match["destinationNodeURI"] = {"identifier": guid_of("one"), "uri": f"https://y.org/{guid_of('one')}"}
    other = {"CFItems": [{"identifier": TWO, "fullStatement": "y"}], "CFAssociations": [match]}
    assert [(skill.id, skill.equivalents) for skill in read_case([package, other]).skills] == [
        ("one", ()),
        (TWO, ("one",)),
    ]


def test_each_framework_gets_a_package_and_the_same_guid_each_time():
    skills = [Skill("3.OA.A.1", "CCSS", statement="x"), Skill("a", "Other", statement="y")]
    packages = case_packages(skills, "urn:cairn:", NOW)
    assert [each["CFDocument"]["title"] for each in packages] == ["CCSS", "Other"]
    assert packages[0]["CFItems"][0]["identifier"] == guid_of("3.OA.A.1") == str(uuid.UUID(guid_of("3.OA.A.1")))
    assert packages[0]["CFItems"][0]["humanCodingScheme"] == "3.OA.A.1"


def test_the_schema_of_case_1_1_accepts_an_export():
    jsonschema = pytest.importorskip("jsonschema")
    schema = FIXTURES / "case-opencase-schemas" / "case-v1p1-cfpackage.json"
    if not schema.is_file():
        pytest.skip(f"{schema} is absent")
    (package,) = case_packages([*SKILLS, OWN[0]], "https://x.org/", NOW)
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    assert [error.message for error in validator.iter_errors(package)] == []
