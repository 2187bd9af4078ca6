"""Skills as CASE: the publisher's schema accepts them, and reading them back gives the same skills."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

import pytest

from services.catalog.domain.model import Skill
from services.catalog.formats.frameworks.case import read_case
from services.catalog.formats.frameworks.case_export import case_packages, guid_of
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
    (package,) = case_packages(SKILLS, "https://x.org/", NOW)
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    assert [error.message for error in validator.iter_errors(package)] == []
