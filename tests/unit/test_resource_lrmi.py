"""Resources in schema.org and LRMI."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.catalog.formats.resources.lrmi import read_lrmi


def read(document):
    return read_lrmi(json.dumps(document).encode())


def only(document):
    contents = read(document)
    assert not contents.problems
    (found,) = contents.resources
    return found


def node(**properties):
    return {"@context": "https://schema.org", "@type": "LearningResource", "@id": "urn:r", "name": "R"} | properties


@pytest.mark.parametrize(
    ("value", "alignment"),
    [
        ("6.RP.A.1", (("6.RP.A.1",), "6.RP.A.1", "")),
        ({"@value": "6.RP.A.1", "@language": "en"}, (("6.RP.A.1",), "6.RP.A.1", "")),
        ({"@id": "urn:s"}, (("urn:s",), "", "")),
        (
            {"@type": "DefinedTerm", "@id": "urn:s", "termCode": "6.RP.A.1", "inDefinedTermSet": "CCSS"},
            (("urn:s",), "6.RP.A.1", "CCSS"),
        ),
        (
            {"@type": "DefinedTerm", "url": {"@id": "https://x.org/s"}, "name": "Ratios",
             "inDefinedTermSet": {"@type": "DefinedTermSet", "name": "CCSS"}},
            (("https://x.org/s",), "Ratios", "CCSS"),
        ),
    ],
    ids=["text", "value", "reference", "term", "term-in-a-set"],
)  # fmt: skip
def test_teaches_and_assesses_may_be_texts_references_and_terms(value, alignment):
    for relation in ("teaches", "assesses"):
        (found,) = only(node(**{relation: value})).alignments
        assert (found.names, found.code, found.framework) == alignment
        assert found.relation == relation


def test_a_reference_is_looked_up_in_the_graph():
    graph = [node(teaches={"@id": "urn:s"}), {"@id": "urn:s", "@type": "DefinedTerm", "termCode": "6.RP.A.1"}]
    contents = read({"@context": "https://schema.org", "@graph": graph})
    assert contents.resources[0].alignments[0].code == "6.RP.A.1"
    assert [each.reason for each in contents.left_out] == [
        "a node of the type DefinedTerm, which describes no learning resource"
    ]


@pytest.mark.parametrize(
    "key",
    ["{}", "schema:{}", "sdo:{}", "http://schema.org/{}", "https://schema.org/{}"],
    ids=["plain", "schema", "sdo", "http", "https"],
)
def test_names_are_the_same_with_a_prefix_an_address_and_without(key):
    found = only({"@type": key.format("VideoObject"), key.format("name"): "V", key.format("url"): "https://x.org/v"})
    assert (found.resource.id, found.resource.title, found.resource.kind) == ("https://x.org/v", "V", "video")


def test_alignments_say_by_their_type_what_they_are():
    alignments = [
        {"alignmentType": kind, "targetName": name}
        for kind, name in [
            ("teaches", "a"), ("assesses", "b"), ("requires", "c"), ("educationalLevel", "3"),
            ("Educational level", "K"), ("educationalSubject", "Area of shapes"), ("", "d"),
        ]
    ]  # fmt: skip
    contents = read(node(educationalAlignment=alignments, learningResourceType="quiz"))
    found = contents.resources[0]
    assert [(each.relation, each.code) for each in found.alignments] == [
        ("teaches", "a"), ("assesses", "b"), ("assesses", "d"),
    ]  # fmt: skip
    assert (found.resource.grades, found.resource.topics) == (("K", "3"), ("area-of-shapes",))
    assert [each.reason for each in contents.values_left_out] == ["an alignment that neither teaches nor assesses"]


@pytest.mark.parametrize(
    ("properties", "identifier"),
    [
        ({"@id": "urn:a", "url": "https://x.org"}, "urn:a"),
        ({"@id": "_:b0", "url": "https://x.org"}, "https://x.org"),
        ({"@id": "", "identifier": {"@type": "PropertyValue", "propertyID": "doi", "value": "10.1/2"}}, "10.1/2"),
        ({"@id": "", "identifier": "own-1", "url": "https://x.org"}, "own-1"),
    ],
    ids=["id", "blank-node", "property-value", "identifier"],
)
def test_a_resource_is_identified_by_its_id_its_identifier_or_its_address(properties, identifier):
    assert only(node(**properties)).resource.id == identifier


def test_what_has_no_identity_or_no_name_is_a_problem_with_its_path():
    contents = read([node(**{"@id": ""}), node(name="")])
    assert [problem.path for problem in contents.problems] == ["[0].@id", "[1].name"]


@pytest.mark.parametrize(
    ("value", "license_name"),
    [
        ("https://creativecommons.org/licenses/by-nc-sa/4.0/", "CC-BY-NC-SA-4.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ({"@type": "CreativeWork", "url": "https://creativecommons.org/licenses/by/4.0/deed.en"}, "CC-BY-4.0"),
        ("MIT", "MIT"),
    ],
    ids=["by-nc-sa", "zero", "node", "name"],
)
def test_licences_of_creative_commons_get_their_spdx_id(value, license_name):
    assert only(node(license=value)).resource.license == license_name


def test_resources_are_found_in_lists_of_items_parts_and_lines():
    parts = node(hasPart=[node(**{"@id": "urn:p"}), {"@id": "urn:elsewhere"}])
    items = {"@type": "ItemList", "itemListElement": [{"@type": "ListItem", "item": node(**{"@id": "urn:i"})}]}
    lines = "\n".join(map(json.dumps, [parts, items])).encode()
    assert [each.resource.id for each in read_lrmi(lines).resources] == ["urn:r", "urn:p", "urn:i"]


def test_a_part_without_an_identity_belongs_to_the_whole():
    question = {"@type": "Question", "learningResourceType": "Practice problem", "name": "1 + 1?"}
    contents = read(node(**{"@type": "Quiz", "hasPart": [question, question]}))
    assert [each.resource.kind for each in contents.resources] == ["assessment"]
    assert [each.reason for each in contents.left_out] == ["a part that has no identity of its own"] * 2
    assert not contents.problems


def test_a_resource_without_an_identity_is_that_of_its_page():
    script = f'<script type="application/ld+json">{json.dumps(node(**{"@id": ""}))}</script>'
    page = f'<html><link rel="canonical" href="https://x.org/page">{script}</html>'
    assert [each.resource.id for each in read_lrmi(page.encode()).resources] == ["https://x.org/page"]
    assert [each.path for each in read_lrmi(script.encode()).problems] == ["script[0].@id"]


def test_a_context_may_rename_keywords_and_terms_may_have_labels():
    # As in the Allgemeines Metadatenprofil für Bildungsressourcen: https://dini-ag-kim.github.io/amb/
    document = {
        "@context": ["https://w3id.org/kim/amb/context.jsonld", {"@language": "de"}],
        "id": "https://x.org/r",
        "type": ["LearningResource"],
        "name": "Flächen",
        "about": [
            {"id": "https://w3id.org/kim/schulfaecher/s1017", "prefLabel": {"de": "Mathematik", "en": "Mathematics"}}
        ],
        "learningResourceType": [{"id": "https://w3id.org/kim/hcrt/assessment", "prefLabel": {"en": "Assessment"}}],
        "assesses": [{"id": "https://x.org/skills/1", "prefLabel": {"de": "Flächen messen"}}],
        "license": {"id": "https://creativecommons.org/licenses/by/4.0/"},
    }
    found = only(document)
    assert (found.resource.id, found.resource.url) == ("https://x.org/r", "https://x.org/r")
    assert (found.resource.kind, found.resource.topics) == ("assessment", ("mathematics",))
    assert found.resource.license == "CC-BY-4.0"
    assert [(each.relation, each.names) for each in found.alignments] == [("assesses", ("https://x.org/skills/1",))]


def test_the_type_of_a_resource_may_be_a_term():
    assert (
        only(node(learningResourceType={"@type": "DefinedTerm", "name": "Practice exercise"})).resource.kind
        == "practice"
    )


def test_terms_of_dublin_core_are_read_as_well():
    terms = {"dcterms:title": "T", "dcterms:language": "es", "dcterms:subject": ["Area", "Tiles"]}
    resource = only({"@type": "lrmi:LearningResource", "@id": "urn:r"} | terms).resource
    assert (resource.title, resource.language, resource.topics) == ("T", "es", ("area", "tiles"))


def test_every_script_of_a_page_is_read_and_a_broken_one_named():
    page = f"""<!doctype html><html><head><script>var a = "<b>";</script>
    <script type="application/ld+json; charset=utf-8">{json.dumps(node(description="a < b & c"))}</script>
    <SCRIPT TYPE='application/ld+json'>{{"name": </SCRIPT></head></html>"""
    contents = read_lrmi(page.encode())
    assert contents.resources[0].resource.description == "a < b & c"
    assert [problem.path for problem in contents.problems] == ["script[1]"]


def test_nesting_of_any_depth_gets_an_answer():
    deep = node(teaches=json.loads('{"@value":[' * 400 + '"x"' + "]}" * 400))
    assert read(deep).resources[0].alignments == ()
    assert read(json.loads('{"@graph":[' * 400 + "]}" * 400)).left_out


KEYS = [
    "@id", "@type", "@graph", "@value", "@list", "name", "url", "identifier", "teaches", "assesses", "alignmentType",
    "educationalAlignment", "targetName", "targetUrl", "educationalLevel", "timeRequired", "inLanguage", "license",
    "provider", "keywords", "about", "learningResourceType", "hasPart", "itemListElement", "termCode", "en",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS) | st.text(max_size=5),
            inner | st.sampled_from(["LearningResource", "urn:r", "PT1H", "3-5", "https://x.org", "teaches"]),
            max_size=8,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_gets_an_answer(document):
    for found in read(document).resources:
        assert found.resource.id
        assert found.resource.title
        assert all(each.code or each.names for each in found.alignments)


@given(st.binary(max_size=200))
@example(b"<!DOCTYPE x [<!ENTITY")
@example(b"<![CDATA[")
@example(b"\xff\xfe<\x00")
def test_any_bytes_get_an_answer(raw):
    read_lrmi(raw)


def test_a_resource_that_a_page_describes_twice_in_the_same_words_counts_once():
    contents = read([node(), node()])
    assert len(contents.resources) == 1
    assert [each.reason for each in contents.left_out] == ["the same resource again, with the same values"]
    other = read([node(), node(name="Other")])
    assert [problem.path for problem in other.problems] == ["[1].@id"]


def test_a_text_with_a_line_feed_in_it_is_read():
    contents = read_lrmi(b'{"@type": "Course", "@id": "c", "name": "Fractions\nfor all"}')
    assert [each.resource.title for each in contents.resources] == ["Fractions for all"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_in_another_encoding_is_refused_and_not_guessed(encoding):
    contents = read_lrmi('{"@type": "Course", "@id": "c", "name": "Café"}'.encode(encoding))
    assert contents.resources == []
    assert "UTF-8" in contents.problems[0].reason


def test_a_level_may_be_called_as_the_learning_registry_does():
    aligned = {"alignmentType": "educationLevel", "targetName": "Grade 3"}
    assert only(node(educationalAlignment=aligned)).resource.grades == ("3",)
