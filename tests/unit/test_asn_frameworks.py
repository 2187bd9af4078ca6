"""ASN, in each of the ways that publishers write its RDF in JSON."""

from __future__ import annotations

import pytest

from services.catalog.formats.frameworks.asn import is_asn, read_asn

ASN = "http://asn.jesandco.org/resources/"
CORE = "http://purl.org/ASN/schema/core/"
DCTERMS = "http://purl.org/dc/terms/"
GEM = "http://purl.org/gem/qualifiers/"
TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
LEVEL = "http://purl.org/ASN/scheme/ASNEducationLevel/K"
GUID = "d0000000-0000-0000-0000-000000000005"


def of(*values):
    return [{"value": value, "type": "uri" if "://" in value else "literal"} for value in values]


BY_SUBJECT = {
    f"{ASN}D1": {
        TYPE: of(f"{CORE}StandardDocument"),
        "http://purl.org/dc/elements/1.1/title": of("Mathematics"),
        f"{GEM}hasChild": of(f"{ASN}S1"),
    },
    f"{ASN}S1": {
        TYPE: of(f"{CORE}Statement"),
        f"{DCTERMS}description": of("Counting"),
        f"{DCTERMS}isPartOf": of(f"{ASN}D1"),
        f"{GEM}isChildOf": of(f"{ASN}D1"),
    },
    f"{ASN}S2": {
        TYPE: of(f"{CORE}Statement"),
        f"{DCTERMS}description": of("Count to 100"),
        f"{DCTERMS}isPartOf": of(f"{ASN}D1"),
        f"{DCTERMS}educationLevel": of(LEVEL),
        f"{CORE}statementNotation": of("K.CC.A.1"),
        f"{CORE}statementLabel": of("Standard"),
        f"{CORE}identifier": of("http://purl.org/ASN/resources/S2"),
        f"{GEM}isChildOf": of(f"{ASN}S1"),
        "http://www.w3.org/2004/02/skos/core#exactMatch": of(f"urn:guid:{GUID}"),
    },
}
# As in ASN's manifests: a value is a text, or an object with a URI, a literal or a label.
TREE = {
    "id": f"{ASN}D1",
    "dcterms_title": {"literal": "Mathematics"},
    "asn_identifier": "",
    "children": [
        {
            "id": f"{ASN}S1",
            "asn_identifier": "",
            "text": "Counting",
            "children": [
                {
                    "id": f"{ASN}S2",
                    "asn_identifier": {"uri": "http://purl.org/ASN/resources/S2"},
                    "text": "Count to 100",
                    "asn_statementNotation": {"language": "en", "literal": "K.CC.A.1"},
                    "asn_statementLabel": {"language": "en", "literal": "Standard"},
                    "dcterms_educationLevel": [{"uri": LEVEL, "prefLabel": "K"}],
                    "skos_exactMatch": [{"uri": f"urn:guid:{GUID}", "prefLabel": "x"}],
                    "leaf": "true",
                }
            ],
        }
    ],
}


def xml(sign, text):
    """The elements of RDF/XML in JSON, with the sign of attributes and the name of texts that a converter uses."""
    about, resource, language = f"{sign}rdf:about", f"{sign}rdf:resource", {f"{sign}xml:lang": "en-US"}
    return {
        "rdf:RDF": {
            f"{sign}xmlns:asn": CORE,
            "asn:StandardDocument": {
                about: f"{ASN}D1",
                "dc:title": language | {text: "Mathematics"},
                "gemq:hasChild": {resource: f"{ASN}S1"},
            },
            "asn:Statement": [
                {
                    about: f"{ASN}S1",
                    "dcterms:description": language | {text: "Counting"},
                    "dcterms:isPartOf": {resource: f"{ASN}D1"},
                    "gemq:isChildOf": {resource: f"{ASN}D1"},
                    "gemq:hasChild": [{resource: f"{ASN}S2"}],
                },
                {
                    about: f"{ASN}S2",
                    "dcterms:description": language | {text: "Count to 100"},
                    "dcterms:isPartOf": {resource: f"{ASN}D1"},
                    "dcterms:educationLevel": {resource: LEVEL},
                    "asn:statementNotation": "K.CC.A.1",
                    "asn:statementLabel": language | {text: "Standard"},
                    "asn:identifier": {resource: "http://purl.org/ASN/resources/S2"},
                    "skos:exactMatch": {resource: f"urn:guid:{GUID}"},
                },
            ],
        }
    }


STATEMENT = {
    "@id": f"{ASN}S2",
    "@type": "asn:Statement",
    "dcterms:description": {"@language": "en", "@value": "Count to 100"},
    "dcterms:educationLevel": {"@id": LEVEL},
    "asn:statementNotation": "K.CC.A.1",
    "asn:statementLabel": {"@language": "en", "@value": "Standard"},
    "asn:identifier": {"@id": "http://purl.org/ASN/resources/S2"},
    "skos:exactMatch": {"@id": f"urn:guid:{GUID}"},
}
FLAT = {
    "@context": {"asn": CORE, "gemq": GEM},
    "@graph": [
        {"@id": f"{ASN}D1", "@type": "asn:StandardDocument", "dc:title": "Mathematics"},
        {
            "@id": f"{ASN}S1",
            "@type": ["asn:Statement"],
            "dcterms:description": "Counting",
            "gemq:isChildOf": {"@id": f"{ASN}D1"},
        },
        STATEMENT | {"gemq:isChildOf": {"@id": f"{ASN}S1"}, "dcterms:isPartOf": {"@id": f"{ASN}D1"}},
    ],
}
NESTED = {
    "@context": {"asn": CORE, "gem": GEM},
    "@id": f"{ASN}D1",
    "dc:title": {"@language": "en-au", "@value": "Mathematics"},
    "gem:hasChild": [
        {
            "@id": f"{ASN}S1",
            "dc:title": {"@language": "en-au", "@value": "Counting"},
            "gem:hasChild": [
                {name: value for name, value in STATEMENT.items() if name != "@type"}
                | {"gem:isChildOf": [{"@id": f"{ASN}S1"}]}
            ],
        }
    ],
}


@pytest.mark.parametrize(
    "document",
    [BY_SUBJECT, {"rdf:RDF": BY_SUBJECT}, TREE, [TREE], xml("-", "#text"), xml("@", "#text"), FLAT, NESTED],
    ids=["by-subject", "wrapped", "tree", "list-of-trees", "xml", "xml-with-at-signs", "json-ld", "nested-json-ld"],
)
def test_the_same_framework_gives_the_same_skills_whichever_way_it_is_written(document):
    assert is_asn(document)
    contents = read_asn(document)
    assert (contents.problems, contents.left_out, contents.titles) == ([], [], ["Mathematics"])
    counting, count = contents.skills
    assert (counting.id, counting.framework, counting.statement) == ("S1", "Mathematics", "Counting")
    assert (counting.parent, counting.equivalents) == ("", (f"{ASN}S1",))
    assert (count.id, count.framework, count.statement) == ("S2", "Mathematics", "Count to 100")
    assert (count.parent, count.code, count.grades) == ("S1", "K.CC.A.1", ("K",))
    assert count.equivalents == (f"{ASN}S2", "http://purl.org/ASN/resources/S2", GUID)
    assert contents.item_types == {"S1": "", "S2": "Standard"}


def test_a_tree_may_begin_with_statements():
    assert [skill.id for skill in read_asn(TREE["children"]).skills] == ["S1", "S2"]


def test_what_is_neither_a_document_nor_a_statement_is_named():
    about_the_file = {f"{ASN}D1.xml": {f"{CORE}exportVersion": of("3.1.0")}}
    contents = read_asn(BY_SUBJECT | about_the_file)
    assert [(each.reason, each.what) for each in contents.left_out] == [
        ("what is neither a document nor a statement", repr(f"{ASN}D1.xml"))
    ]


@pytest.mark.parametrize(
    "document",
    [{"rdf:RDF": {"skos:Concept": [{"-rdf:about": f"{ASN}C", "skos:prefLabel": "x"}]}}, {"@graph": []}],
    ids=["vocabulary", "empty"],
)
def test_a_document_without_statements_is_refused(document):
    assert is_asn(document)
    (problem,) = read_asn(document).problems
    assert problem.path == ""


def test_a_statement_without_a_text_or_an_id_is_named_by_its_place():
    graph = [{"@id": "x:1", "@type": "asn:Statement"}, {"@type": "asn:Statement", "dcterms:description": "x"}]
    assert [problem.path for problem in read_asn({"@graph": graph}).problems] == ["@graph[0]", "@graph[1]"]


def test_a_package_of_case_with_a_context_is_no_asn():
    assert not is_asn({"@context": "https://x.org", "CFDocument": {}, "CFItems": []})
