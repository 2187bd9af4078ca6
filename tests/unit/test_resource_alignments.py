"""The skills that foreign files mean."""

import re
from pathlib import Path

import pytest

from services.catalog.domain.model import Resource, Skill
from services.catalog.formats.frameworks.files import read_frameworks
from services.catalog.formats.resources.alignments import SkillFinder, tagged
from services.catalog.formats.resources.contents import Alignment, FoundResource, Relation

GUID = "0123abcd-0123-4567-89ab-0123456789ab"
SKILLS = [
    Skill("a", "CCSS.Math", "3.MD.C.7", equivalents=("http://corestandards.org/Math/Content/3/MD/C/7",)),
    Skill("b", "CCSS.ELA", "CCSS.ELA-Literacy.SL.K.1a"),
    Skill("c", "CCSS.ELA", "CCSS.ELA-Literacy.L.K.1a"),
    Skill("d", "CCSS.Math", "HSA-REI.B.3"),
    Skill(GUID, "TEKS", "111.5.b"),
    Skill("e", "TEKS", "3.4"),
    Skill("f", "SOL", "3.4.A.1"),
    Skill("g", "TEKS", "3.4.A.1"),
    Skill("h", "X", "9.9.9.9", equivalents=("urn:same",)),
    Skill("i", "Y", "9.9.9.9", equivalents=("urn:same",)),
    Skill("j", "CCSS.Math", "3.MD.C.9a"),
    Skill("k", "Z", "12.3a"),
    Skill("l", "Z", "12.3-a"),
    Skill("m", "Z", "3.11.5"),
]


@pytest.mark.parametrize(
    ("alignment", "skill"),
    [
        ((("a",), "", ""), "a"),
        ((("https://www.corestandards.org/Math/Content/3/MD/C/7/",), "", ""), "a"),
        (((f"https://case.example.org/ims/case/v1p0/CFItems/{GUID.upper()}",), "", ""), GUID),
        ((("urn:uuid:" + GUID.replace("-", ""),), "", ""), GUID),
        (((), "3.md.c.7", ""), "a"),
        (((), "CCSS.Math.Content.3.MD.C.7", "Common Core State Standards"), "a"),
        (((), "CCSS.Math.Content.HSA-REI.B.3", ""), "d"),
        (((), "SL.K.1a", ""), "b"),
        (((), "CCSS.ELA-LITERACY.L.K.1A", ""), "c"),
        (((), "K.1a", ""), None),
        (((), "3.4", ""), None),
        (((), "3.4", "teks"), "e"),
        (((), "3.4.A.1", ""), None),
        (((), "3.4.A.1", "TEKS"), "g"),
        (((), "9.9.9.9", ""), "h"),
        ((("urn:unknown",), "3.MD.C.7", ""), "a"),
        ((("3.MD.C.7",), "Relate area to multiplication", ""), "a"),
        ((("3.4",), "Relate area to multiplication", ""), None),
        (((), "CCSS.MATH.CONTENT.3.MD.C.9.A", ""), "j"),
        (((), "CCSS.MATH.CONTENT.HSA.REI.B.3", ""), "d"),
        (((), "31.1.5", ""), None),
        (((), "12.3-a", ""), "l"),
        (((), "12.3a", ""), "k"),
    ],
    ids=[
        "id", "uri", "guid-in-a-uri", "guid-in-a-urn", "code-in-lower-case", "code-with-prefix", "prefix-of-a-code",
        "code-of-two-letters", "prefix-in-capitals", "end-of-a-code", "short-code", "short-code-of-a-framework",
        "code-of-two-frameworks", "code-with-framework", "code-of-the-same-skill", "code-after-a-uri",
        "code-with-a-label", "short-code-with-a-label",
        "dot-before-a-letter", "dot-for-a-dash", "other-numbers", "as-written-first", "as-written-first-without-a-dash",
    ],
)  # fmt: skip
def test_a_skill_is_found_by_id_by_uri_or_by_its_code(alignment, skill):
    found, reason = SkillFinder(SKILLS).find(Alignment(Relation.TEACHES, *alignment))
    assert (found and found.id) == skill
    assert bool(reason) == (skill is None)


def test_a_code_that_several_skills_have_says_so():
    _, reason = SkillFinder(SKILLS).find(Alignment(Relation.TEACHES, (), "3.4.A.1"))
    assert reason == "a code that several skills have"


def test_each_skill_is_tagged_once_and_only_as_many_as_the_catalog_takes():
    skills = [Skill(f"s{number:03}") for number in range(70)]
    alignments = tuple(Alignment(Relation.TEACHES, (skill.id,)) for skill in [*skills, *skills])
    resource, unresolved = tagged(FoundResource(Resource("r", "R", None), "", alignments), SkillFinder(skills))
    assert [tag.skill for tag in resource.teaches] == [skill.id for skill in skills[:64]]
    assert {each.reason for each in unresolved} == {"a tag beyond the first 64"}


def without_cluster(code):
    # What the standards call a cluster is a letter from A to D before the number.
    return re.sub(r"\.[A-D]\.", ".", code)


@pytest.mark.parametrize(
    "written",
    [
        without_cluster,
        str.lower,
        lambda code: f"CCSS.MATH.CONTENT.{code}",
        lambda code: f"CCSS.Math.Content.{without_cluster(code)}",
        lambda code: f"CCSS {code}",
        lambda code: f"CCSS Math: {without_cluster(code)}",
        lambda code: f"{code}: Understand what the code means.",
        lambda code: f"{without_cluster(code)} - Understand (see page 3.14)",
        lambda code: code.removeprefix("HS"),
        lambda code: without_cluster(code.removeprefix("HS")),
        lambda code: re.sub("^HS", "HS.", code),
        "Common Core State Standards for Mathematics: {}".format,
        "Grade 3: {}".format,
        "CC.{}".format,
    ],
    ids=[
        "without-cluster", "lower-case", "prefix", "prefix-without-cluster", "acronym", "words-and-colon", "text-after",
        "text-after-a-dash", "without-hs", "without-hs-and-cluster", "hs-apart", "framework-in-words",
        "grade", "initials",
    ],
)  # fmt: skip
def test_every_standard_of_common_core_is_found_in_the_forms_that_publishers_write(written):
    skills = read_frameworks([Path("ccss-math")]).skills
    finder = SkillFinder(skills)
    found = {each.code: finder.find(Alignment(Relation.TEACHES, (), written(each.code)))[0] for each in skills}
    assert {code: skill and skill.code for code, skill in found.items() if skill is None or skill.code != code} == {}
    assert len(found) == 480


CLUSTERED = [
    Skill("a", "X", "3.MD.A.7"),
    Skill("b", "X", "3.MD.C.7"),
    Skill("c", "X", "3.MD.C.8"),
    Skill("d", "X", "4.OA.5"),
    Skill("e", "X", "HS-PS1-1"),
    Skill("f", "X", "MS-PS1-1"),
    Skill("g", "X", "L.K.1.a"),
    Skill("h", "X", "3.MD.C.7a"),
]


@pytest.mark.parametrize(
    ("code", "skill", "reason"),
    [
        ("3.MD.8", "c", ""),
        ("3.MD.7", None, "a code that several skills have"),
        ("3.MD.B.8", None, "a skill that the catalog does not have"),
        ("4.OA.C.5", "d", ""),
        ("3.MD.C.8, 3.MD.C.7", None, "a text with several codes"),
        ("3.MD.C.8 and 9.X.Y.9", None, "a text with several codes"),
        ("3.MD.C.7a, b", None, "a text with several codes"),
        ("3.MD.C.8, a rectangle", "c", ""),
        ("3.MD.C.8: y = 3.5x", "c", ""),
        ("3.MD.C.7-8", None, "a skill that the catalog does not have"),
        ("Extends 3.MD.C.8", None, "a skill that the catalog does not have"),
        ("PS1-1", None, "a skill that the catalog does not have"),
        ("L.1.a", None, "a skill that the catalog does not have"),
    ],
    ids=[
        "one-fits", "several-fit", "another-cluster", "catalog-without-clusters", "two-codes", "an-unknown-second-code",
        "two-ends-of-a-code", "an-article-after-the-code",
        "numbers-in-the-text", "a-range", "a-word-before-the-code", "a-grade-that-is-no-cluster", "a-grade-left-out",
    ],
)  # fmt: skip
def test_a_code_in_another_form_is_found_when_exactly_one_skill_fits_and_never_guessed(code, skill, reason):
    found, why = SkillFinder(CLUSTERED).find(Alignment(Relation.TEACHES, (), code))
    assert (found and found.id, why) == (skill, reason)
