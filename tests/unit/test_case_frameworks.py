"""CASE as the specification says it, and as publishers bend it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.catalog.formats.frameworks.asn import read_asn
from services.catalog.formats.frameworks.case import read_case
from services.catalog.formats.frameworks.contents import grades_of, name_of, only_types, with_codes_as_ids

GUID = "d0000000-0000-0000-0000-00000000000"


def guid(number):
    return f"{GUID}{number}"


def node(number, **more):
    return {
        "title": f"node {number}",
        "identifier": guid(number),
        "uri": f"https://x.org/CFItems/{guid(number)}",
        **more,
    }


def item(number, **more):
    return {"identifier": guid(number), "fullStatement": f"Statement {number}", **more}


def link(kind, origin, destination):
    return {"associationType": kind, "originNodeURI": node(origin), "destinationNodeURI": node(destination)}


def package(items, links=(), **document):
    return {
        "CFDocument": {"identifier": guid(0), "title": "Framework", **document},
        "CFItems": items,
        "CFAssociations": list(links),
    }


def skills_of(contents):
    assert contents.problems == []
    return {skill.id: skill for skill in contents.skills}


def left_out(contents):
    return {each.reason: each.what for each in contents.left_out}


def test_an_item_becomes_a_skill_with_its_code_statement_grades_and_framework():
    own = item(1, humanCodingScheme="6.RP.A.1", educationLevel=["06", "KG"], CFItemType="Standard")
    (skill,) = read_case(package([own])).skills
    assert (skill.id, skill.code, skill.statement) == (guid(1), "6.RP.A.1", "Statement 1")
    assert (skill.framework, skill.grades) == ("Framework", ("K", "6"))


@pytest.mark.parametrize(
    "wrapped",
    [lambda one: one, lambda one: [one], lambda one: {"CFPackage": one}, lambda one: {"data": {"package": [one]}}],
    ids=["bare", "array", "wrapped", "wrapped twice"],
)
def test_a_package_may_be_bare_wrapped_or_in_an_array(wrapped):
    assert list(skills_of(read_case(wrapped(package([item(1)]))))) == [guid(1)]


@pytest.mark.parametrize(
    "document_uri", ["https://x.org/uri/1", {"title": "T", "identifier": guid(0), "uri": "u"}, None]
)
def test_the_document_of_an_item_may_be_a_string_an_object_or_absent(document_uri):
    assert list(skills_of(read_case(package([item(1, CFDocumentURI=document_uri)])))) == [guid(1)]


def test_a_node_may_be_a_string_that_ends_with_the_identifier():
    own = {
        "associationType": "precedes",
        "originNodeURI": f"https://x.org/uri/{guid(1).upper()}",
        "destinationNodeURI": guid(2),
    }
    assert skills_of(read_case(package([item(1), item(2)], [own])))[guid(2)].prerequisites == (guid(1),)


@pytest.mark.parametrize("kind", ["precedes", "isChildOf", "exactMatchOf"])
def test_a_link_counts_once_however_often_it_is_said_and_each_repeat_is_named(kind):
    contents = read_case(package([item(1), item(2)], [link(kind, 1, 2)] * 3))
    assert (contents.links, len(contents.left_out)) == (1, 2)
    assert left_out(contents) == {f"{kind} that is said again; it counts once": f"{guid(1)} -> {guid(2)}"}


def test_what_precedes_is_a_prerequisite():
    contents = read_case(package([item(1), item(2)], [link("precedes", 1, 2)]))
    assert skills_of(contents)[guid(2)].prerequisites == (guid(1),)


def test_a_link_to_an_item_that_is_not_there_is_left_out_and_named_by_its_code():
    contents = read_case(package([item(1, humanCodingScheme="A.1")], [link("precedes", 7, 1), link("isChildOf", 1, 8)]))
    assert left_out(contents) == {
        "precedes from or to an item that the file does not have": f"{guid(7)} -> A.1",
        "isChildOf an item that the file does not have": f"{guid(1)} -> {guid(8)}",
    }


def test_packages_of_one_file_may_link_to_each_other():
    one, other = package([item(1)]), package([item(2)], [link("precedes", 1, 2)], identifier=guid(9))
    assert skills_of(read_case([one, other]))[guid(2)].prerequisites == (guid(1),)


@pytest.mark.parametrize("first", [1, 2, 3])
def test_of_a_cycle_the_edge_that_needs_what_is_taught_last_is_cut_and_named(first):
    # Each comes before the next and the last before the first, in grades 1, 2, 3: that the first needs the last is the
    # least plausible, wherever the ids place it.
    one, two, three = (each if each <= 3 else each - 3 for each in range(first, first + 3))
    grades = {one: "01", two: "02", three: "03"}
    items = [item(number, humanCodingScheme=f"G{grade}", educationLevel=[grade]) for number, grade in grades.items()]
    contents = read_case(package(items, [link("precedes", *edge) for edge in ((one, two), (two, three), (three, one))]))
    skills = skills_of(contents)
    assert [skills[guid(number)].prerequisites for number in (one, two, three)] == [(), (guid(one),), (guid(two),)]
    assert left_out(contents)["precedes that closes a cycle"].startswith("G03 before G01, in ")


@given(
    st.sets(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=20),
    st.lists(st.sampled_from(["01", "02", "03"]), min_size=6, max_size=6),
)
def test_no_cycle_is_left_however_many_there_are(edges, grades):
    items = [item(number, educationLevel=[grade]) for number, grade in enumerate(grades, 1)]
    contents = read_case(package(items, [link("precedes", *edge) for edge in sorted(edges)]))
    needs = {skill.id: set(skill.prerequisites) for skill in contents.skills}
    while ready := {skill for skill, needed in needs.items() if not needed}:
        needs = {skill: needed - ready for skill, needed in needs.items() if skill not in ready}
    assert not needs


@pytest.mark.parametrize("first", [1, 2, 3])
def test_of_a_cycle_of_children_the_link_to_the_parent_that_is_taught_last_is_cut_and_named(first):
    one, two, three = (each if each <= 3 else each - 3 for each in range(first, first + 3))
    grades = {one: "01", two: "02", three: "03"}
    items = [item(number, humanCodingScheme=f"G{grade}", educationLevel=[grade]) for number, grade in grades.items()]
    links = [link("isChildOf", *edge) for edge in ((one, three), (two, one), (three, two))]
    contents = read_case(package(items, links))
    skills = skills_of(contents)
    assert [skills[guid(number)].parent for number in (one, two, three)] == ["", guid(one), guid(two)]
    assert left_out(contents)["isChildOf that closes a cycle"].startswith("G01 in G03, in ")
    assert contents.links == 2


def test_a_child_of_itself_has_no_parent_and_is_named():
    contents = read_case(package([item(1)], [link("isChildOf", 1, 1)]))
    assert [skill.parent for skill in contents.skills] == [""]
    assert "isChildOf that closes a cycle" in left_out(contents)


def test_a_child_has_its_first_parent_and_the_framework_is_none():
    links = [link("isChildOf", 1, 0), link("isChildOf", 2, 1), link("isChildOf", 2, 3)]
    contents = read_case(package([item(1), item(2), item(3)], links))
    assert [skill.parent for skill in contents.skills] == ["", guid(1), ""]
    assert "a second parent; the first one counts" in left_out(contents)


def test_an_exact_match_names_the_other_node_by_identifier_and_by_a_uri_that_says_more():
    urn = {"identifier": guid(7).upper(), "uri": "urn:fdc:x.org:CCSS:6.RP.A.1"}
    match = {"associationType": "exactMatchOf", "originNodeURI": node(1), "destinationNodeURI": urn}
    contents = read_case(package([item(1)], [match, link("exactMatchOf", 8, 1)]))
    assert skills_of(contents)[guid(1)].equivalents == (guid(7), "urn:fdc:x.org:CCSS:6.RP.A.1", guid(8))


def test_related_items_are_left_out_because_they_say_no_order():
    contents = read_case(package([item(1), item(2)], [link("isRelatedTo", 1, 2), link("exemplar", 1, 2)]))
    assert sorted(left_out(contents)) == [
        "exemplar: it is no order of skills",
        "isRelatedTo: it says neither what comes first nor that both are the same",
    ]


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ("text", ""),
        ({"title": "no framework", "type": "object"}, ""),
        (package([{"fullStatement": "x"}]), "CFItems[0].identifier"),
        (package([{"identifier": guid(1)}]), "CFItems[0].fullStatement"),
        (package(["x"]), "CFItems[0]"),
        (package({}), "CFItems"),
        (
            {"CFPackage": [package([item(1)], [{"originNodeURI": node(1)}])]},
            "CFPackage[0].CFAssociations[0].associationType",
        ),
        (
            package([item(1)], [{"associationType": "precedes", "originNodeURI": node(1)}]),
            "CFAssociations[0].destinationNodeURI",
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_path(document, path):
    assert [problem.path for problem in read_case(document).problems] == [path]


def test_items_of_other_types_are_left_out_with_the_links_to_them():
    items = [item(1, CFItemType="Target"), item(2, CFItemType="Skill")]
    contents = only_types(read_case(package(items, [link("precedes", 1, 2)])), ["Skill"])
    assert [(skill.id, skill.prerequisites) for skill in contents.skills] == [(guid(2), ())]


def test_codes_as_ids_rename_links_and_keep_the_identifier_as_a_name_and_repeated_codes_stay_identifiers():
    items = [item(1, humanCodingScheme="A"), item(2, humanCodingScheme="B"), item(3, humanCodingScheme="B"), item(4)]
    links = [link("precedes", 1, 2), link("isChildOf", 2, 1)]
    contents = with_codes_as_ids(read_case(package(items, links)))
    assert [skill.id for skill in contents.skills] == ["A", guid(2), guid(3), guid(4)]
    assert contents.skills[0].equivalents == (guid(1),)
    assert (contents.skills[1].prerequisites, contents.skills[1].parent) == (("A",), "A")


@pytest.mark.parametrize(("name", "value"), [("educationLevel", "03,04"), ("educationalLevel", ["03", "04"])])
def test_education_levels_may_be_text_and_have_the_name_that_opensalt_gives_them(name, value):
    assert read_case(package([item(1, **{name: value})])).skills[0].grades == ("3", "4")


def test_education_levels_are_grades_where_they_are_and_named_where_not():
    assert grades_of(["03", "KG", "PK", "12", "3"]) == (("PK", "K", "3", "12"), ())
    assert grades_of(["13", "UG", "adult"]) == ((), ("13", "UG", "adult"))


@pytest.mark.parametrize(
    "text",
    [
        guid(1).upper(),
        f"urn:guid:{guid(1).replace('-', '')}",
        f"urn:uuid:{guid(1)}",
        f"https://x.org/CFItems/{guid(1)}/",
        f" {guid(1)} ",
    ],
)
def test_a_guid_is_one_name_however_it_is_written(text):
    assert name_of(text) == guid(1)


def test_nesting_has_no_end_that_breaks_a_reader():
    lists, children = [], {"asn_identifier": "x"}
    for _ in range(5_000):
        lists, children = [lists], {"asn_identifier": "x", "children": [children]}
    assert len(read_case(lists).problems) == 1
    assert len(read_asn(children).problems) == 5_001


_NAMES = ["CFDocument", "CFItems", "CFAssociations", "CFPackage", "CFDocuments", "identifier", "uri", "title", "value"]
_NAMES += ["fullStatement", "associationType", "originNodeURI", "destinationNodeURI", "educationLevel"]
_NAMES += ["id", "asn_identifier", "text", "children"]
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=5),
    max_leaves=30,
)


@given(_json)
def test_any_json_gets_an_answer(document):
    for read in (read_case, read_asn):
        contents = read(document)
        assert contents.problems or all(skill.id and skill.statement for skill in contents.skills)


def test_of_a_long_cycle_the_beginning_and_the_end_are_printed():
    items = [{"identifier": f"i{number}", "fullStatement": "S"} for number in range(1_000)]
    links = [
        {"associationType": "precedes", "originNodeURI": f"i{number}", "destinationNodeURI": f"i{(number + 1) % 1_000}"}
        for number in range(1_000)
    ]
    (cut,) = read_case(package(items, links)).left_out
    assert cut.what.startswith("i0 before i1, in i0 -> i999 -> ")
    assert cut.what.endswith(" -> ... -> i0 (each needs the next)")
