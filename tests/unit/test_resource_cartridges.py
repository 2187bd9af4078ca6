"""Common Cartridges and packages of QTI."""

import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.catalog.formats.resources import cartridge_files
from services.catalog.formats.resources.common_cartridge import read_common_cartridge

QTI = "imsqti_xmlv1p2/imscc_xmlv1p3/assessment"
BELONGS = "associatedcontent/imscc_xmlv1p1/learning-application-resource"


def manifest(resources, items="", metadata="", identifier="m"):
    return (
        f'<manifest identifier="{identifier}" xmlns="http://www.imsglobal.org/xsd/imsccv1p3/imscp_v1p1">'
        f"<metadata>{metadata}</metadata><organizations><organization><item>{items}</item></organization></organizations>"
        f"<resources>{resources}</resources></manifest>"
    )


def item(resource, title="Shown"):
    return f'<item identifierref="{resource}"><title>{title}</title></item>'


def standards(*codes, part=""):
    attribute = f' resourcePartId="{part}"' if part else ""
    guids = "".join(f"<labelledGUID><GUID>{code}-guid</GUID><label>{code}</label></labelledGUID>" for code in codes)
    return (
        f"<curriculumStandardsMetadataSet{attribute}><curriculumStandardsMetadata><setOfGUIDs>{guids}</setOfGUIDs>"
        "</curriculumStandardsMetadata></curriculumStandardsMetadataSet>"
    )


def read(tmp_path, text, id_prefix=None, **files):
    path = tmp_path / "c.imscc"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("imsmanifest.xml", text)
        for name, content in files.items():
            archive.writestr(f"{name}.xml", content)
    return read_common_cartridge(path, id_prefix)


@pytest.mark.parametrize("version", ["v1p0", "v1p1", "v1p2", "v1p3"])
def test_every_version_of_the_cartridge_is_read(tmp_path, version):
    resources = (
        f'<resource identifier="q" type="imsqti_xmlv1p2/imscc_xml{version}/assessment" href="q.xml"/>'
        f'<resource identifier="w" type="imswl_xml{version}" href="w.xml"/>'
        f'<resource identifier="b" type="imsqti_xmlv1p2/imscc_xml{version}/question-bank" href="b.xml"/>'
        f'<resource identifier="d" type="imsdt_xml{version}" href="d.xml"/>'
    )
    contents = read(
        tmp_path,
        manifest(resources, item("q", "A quiz")),
        q='<questestinterop><assessment title="Inner"/></questestinterop>',
        w='<wl:webLink xmlns:wl="x"><title>A link</title><url href="https://x.org/a"/></wl:webLink>',
    )
    shown = [(each.resource.id, each.resource.title, each.resource.kind) for each in contents.resources]
    assert shown == [("m/q", "A quiz", "assessment"), ("m/w", "A link", "lesson")]
    assert contents.resources[1].resource.url == "https://x.org/a"
    assert [each.reason for each in contents.left_out] == [
        "a bank of questions, which no learner sees as such",
        "a discussion topic",
    ]
    assert contents.scope == "m/"


def test_an_assignment_is_practice_however_its_producer_says_so(tmp_path):
    # Canvas has associated content with a file of settings, version 1.3 an intended use, and its extension a type.
    resources = (
        f'<resource identifier="a" type="{BELONGS}" href="a/essay.html">'
        '<file href="a/essay.html"/><file href="a/assignment_settings.xml"/></resource>'
        f'<resource identifier="s" type="{BELONGS}" href="a/export.txt"/>'
        '<resource identifier="w" type="webcontent" href="b.html" intendeduse="assignment"/>'
        '<resource identifier="x" type="assignment_xmlv1p0" href="x.xml"/>'
    )
    contents = read(
        tmp_path,
        manifest(resources, item("a", "Essay") + item("w", "Homework")),
        x='<assignment xmlns="urn:x"><title>Garden plan</title></assignment>',
    )
    assert [(each.resource.title, each.resource.kind) for each in contents.resources] == [
        ("Essay", "practice"),
        ("Homework", "practice"),
        ("Garden plan", "practice"),
    ]
    assert [each.reason for each in contents.left_out] == ["files that belong to other resources"]


def test_a_page_that_an_item_shows_is_a_lesson_though_it_is_called_associated_content(tmp_path):
    form = "associatedcontent/imscc_xmlv1p1/learning-application-resource"
    resources = (
        f'<resource identifier="p" type="{form}" href="p.html"/><resource identifier="q" type="{form}" href="q.html"/>'
    )
    contents = read(tmp_path, manifest(resources, item("p", "Read this")))
    assert [(each.resource.title, each.resource.kind) for each in contents.resources] == [("Read this", "lesson")]


@pytest.mark.parametrize(
    ("form", "taken"), [("assignment_xmlv1p0", "m/v"), ("imsxyz_xmlv9p0", "m/w")], ids=["known", "unknown"]
)
def test_a_variant_replaces_a_resource_and_is_shown_as_it_is_where_its_type_is_known(tmp_path, form, taken):
    resources = (
        f'<resource identifier="v" type="{form}" href="v.xml"/>'
        '<resource identifier="w" type="webcontent" href="w.html"><variant identifierref="v"/></resource>'
    )
    contents = read(tmp_path, manifest(resources, item("w", "Plan a garden")))
    assert [(each.resource.id, each.resource.title) for each in contents.resources] == [(taken, "Plan a garden")]


def test_a_thin_cartridge_consists_of_tools_that_its_items_show(tmp_path):
    inline = (
        '<resource identifier="t" type="imsbasiclti_xmlv1p3"><metadata>' + standards("3.MD.C.7") + "</metadata>"
        "<cartridge_basiclti_link><title>Tool</title><description>Fractions</description></cartridge_basiclti_link>"
        '</resource><resource identifier="u" type="imsbasiclti_xmlv1p3"/>'
    )
    contents = read(tmp_path, manifest(inline, item("t", "Unit 1")))
    (found,) = contents.resources
    assert (found.resource.title, found.resource.description) == ("Unit 1", "Fractions")
    assert [(each.relation, each.code, each.names) for each in found.alignments] == [
        ("teaches", "3.MD.C.7", ("3.MD.C.7-guid",))
    ]
    assert [each.reason for each in contents.left_out] == ["a tool that no item shows"]


def test_items_of_an_assessment_have_their_own_skills_and_the_whole_has_all(tmp_path):
    resources = (
        f'<resource identifier="q" type="{QTI}" href="q.xml"><metadata>'
        + standards("A", part="q") + standards("B", part="i1") + standards("C", "D", part="i2")
        + "</metadata></resource>"
    )  # fmt: skip
    contents = read(
        tmp_path,
        manifest(resources),
        id_prefix="",
        q='<questestinterop><assessment title="Quiz"><section><item ident="i1" title="First"/><item ident="i2"/>'
        "</section></assessment></questestinterop>",
    )
    shown = [
        (each.resource.id, each.resource.title, each.resource.status, [(a.relation, a.code) for a in each.alignments])
        for each in contents.resources
    ]
    assert shown == [
        ("q", "Quiz", "active", [("assesses", code) for code in "ABCD"]),
        ("i1", "First", "retired", [("assesses", "B")]),
        ("i2", "Quiz", "retired", [("assesses", "C"), ("assesses", "D")]),
    ]


@pytest.mark.parametrize(
    ("roles", "intended_use", "taken"),
    [
        (["Instructor"], "", False),
        (["Instructor", "Learner"], "", True),
        (["Learner"], "", True),
        ([], "lessonplan", False),
        ([], "", True),
    ],
    ids=["instructors", "both", "learners", "lesson-plan", "not-said"],
)
def test_what_is_only_for_instructors_is_left_out(tmp_path, roles, intended_use, taken):
    lom = "".join(f"<intendedEndUserRole><value>{role}</value></intendedEndUserRole>" for role in roles)
    resources = (
        f'<resource identifier="r" type="webcontent" href="p.html" intendeduse="{intended_use}">'
        f"<metadata><lom><educational>{lom}</educational></lom></metadata></resource>"
    )
    assert bool(read(tmp_path, manifest(resources, item("r"))).resources) == taken


def test_lom_says_what_a_resource_is(tmp_path):
    metadata = """<lom:lom xmlns:lom="http://ltsc.ieee.org/xsd/imsccv1p3/LOM/resource"><lom:general>
    <lom:title><lom:string language="en">Tiles</lom:string></lom:title>
    <lom:language>en-US</lom:language><lom:description><lom:string>Cover it.</lom:string></lom:description>
    <lom:keyword><lom:string>Area</lom:string></lom:keyword></lom:general>
    <lom:lifeCycle><lom:contribute><lom:role><lom:value>publisher</lom:value></lom:role>
    <lom:entity>BEGIN:VCARD&#10;VERSION:3.0&#10;FN:Ann&#10;ORG:River Press&#10;END:VCARD</lom:entity>
    </lom:contribute></lom:lifeCycle>
    <lom:educational><lom:learningResourceType><lom:value>exercise</lom:value></lom:learningResourceType>
    <lom:typicalLearningTime><lom:duration>PT20M</lom:duration></lom:typicalLearningTime></lom:educational>
    <lom:classification><lom:purpose><lom:value>educational objective</lom:value></lom:purpose><lom:taxonPath>
    <lom:source><lom:string>CCSS</lom:string></lom:source><lom:taxon><lom:entry><lom:string>3.MD</lom:string></lom:entry></lom:taxon>
    <lom:taxon><lom:id>guid</lom:id><lom:entry><lom:string>3.MD.C.7</lom:string></lom:entry></lom:taxon></lom:taxonPath>
    </lom:classification><lom:classification><lom:purpose><lom:value>educational level</lom:value></lom:purpose>
    <lom:taxonPath><lom:taxon><lom:entry><lom:string>Grade 3</lom:string></lom:entry></lom:taxon></lom:taxonPath>
    </lom:classification></lom:lom>"""
    resources = f'<resource identifier="w" type="webcontent" href="p.html"><metadata>{metadata}</metadata></resource>'
    (found,) = read(tmp_path, manifest(resources)).resources
    resource = found.resource
    assert (resource.title, resource.kind, resource.description) == ("Tiles", "practice", "Cover it.")
    assert (resource.language, resource.topics, resource.provider) == ("en-US", ("area",), "River Press")
    assert (resource.minutes, resource.grades) == (20, ("3",))
    assert [(a.relation, a.names, a.code, a.framework) for a in found.alignments] == [
        ("assesses", ("guid",), "3.MD.C.7", "CCSS")
    ]


def test_packages_of_qti_give_tests_and_their_items_in_silence(tmp_path):
    resources = (
        '<resource identifier="t" type="imsqti_test_xmlv3p0" href="t.xml"/>'
        f'<resource identifier="i" type="imsqti_item_xmlv3p0"><metadata>{standards("A")}</metadata></resource>'
    )
    contents = read(tmp_path, manifest(resources), t='<qti-assessment-test title="Unit test"/>')
    shown = [(each.resource.title, each.resource.status) for each in contents.resources]
    assert shown == [("Unit test", "active"), ("i", "retired")]
    assert contents.resources[1].alignments[0].relation == "assesses"


@pytest.mark.parametrize("href", ["../../secret.xml", "/etc/passwd", "%2e%2e/secret.xml", "..\\secret.xml"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "folder"])
def test_a_path_out_of_the_cartridge_is_not_followed(tmp_path, href, zipped):
    (tmp_path / "secret.xml").write_text("<a title='kept apart'/>", encoding="utf-8")
    text = manifest(f'<resource identifier="q" type="{QTI}" href="{href}"/>')
    if zipped:
        contents = read(tmp_path, text)
    else:
        folder = tmp_path / "inner"
        folder.mkdir()
        (folder / "imsmanifest.xml").write_text(text, encoding="utf-8")
        contents = read_common_cartridge(folder, None)
    assert contents.resources[0].resource.title != "kept apart"
    assert "is a path out of the cartridge" in contents.values_left_out[0].what


def test_a_link_out_of_an_unpacked_cartridge_is_not_followed(tmp_path):
    (tmp_path / "secret.xml").write_text("<a title='kept apart'/>", encoding="utf-8")
    folder = tmp_path / "inner"
    folder.mkdir()
    (folder / "q.xml").symlink_to(tmp_path / "secret.xml")
    text = manifest(f'<resource identifier="q" type="{QTI}" href="q.xml"/>')
    (folder / "imsmanifest.xml").write_text(text, encoding="utf-8")
    contents = read_common_cartridge(folder / "imsmanifest.xml", None)
    assert "is a link out of the cartridge" in contents.values_left_out[0].what


def test_a_manifest_with_entities_is_refused(tmp_path):
    contents = read(tmp_path, '<!DOCTYPE m [<!ENTITY a "b">]><manifest identifier="&a;"/>')
    assert "has a document type, whose entities may expand without end" in contents.problems[0].reason


def test_a_file_that_grows_beyond_all_measure_is_refused(tmp_path):
    contents = read(tmp_path, "<manifest>" + " " * (17 << 20) + "</manifest>")
    assert "has more than 16 MiB" in contents.problems[0].reason


def test_a_file_that_several_resources_have_is_parsed_once(tmp_path, monkeypatch):
    parsed = []
    parse = cartridge_files.root_of
    monkeypatch.setattr(cartridge_files, "root_of", lambda chunks: parsed.append(chunks) or parse(chunks))
    resources = "".join(f'<resource identifier="r{number}" type="{QTI}" href="q.xml"/>' for number in range(3))
    resources += "".join(f'<resource identifier="b{number}" type="{QTI}" href="b.xml"/>' for number in range(3))
    quiz = '<questestinterop><assessment title="Quiz"/></questestinterop>'
    contents = read(tmp_path, manifest(resources), q=quiz, b="no XML")
    assert [each.resource.title for each in contents.resources] == ["Quiz"] * 3 + ["b"] * 3
    assert [each.what.partition(":")[0] for each in contents.values_left_out] == ["b0", "b1", "b2"]
    assert len(parsed) == 3  # The manifest and two files.


def test_the_files_of_a_cartridge_are_parsed_to_a_limit_and_the_others_are_named(tmp_path, monkeypatch):
    resources = "".join(f'<resource identifier="r{number}" type="{QTI}" href="q{number}.xml"/>' for number in range(3))
    quiz = '<questestinterop><assessment title="Quiz"/></questestinterop>'
    monkeypatch.setattr(cartridge_files, "_TOTAL_BYTES_MAX", len(manifest(resources)) + len(quiz) + 1)
    contents = read(tmp_path, manifest(resources), q0=quiz, q1=quiz, q2=quiz)
    assert [each.resource.title for each in contents.resources] == ["Quiz", "Quiz", "q2"]
    (left_out,) = contents.values_left_out
    assert left_out.what == "r2: 'q2.xml' comes after 0 MiB of other files; split the cartridge"


def test_an_item_without_an_identifier_is_no_part_of_an_assessment(tmp_path):
    resource = (
        f'<resource identifier="r" type="{QTI}" href="q.xml"><metadata>{standards("3.MD.C.7")}</metadata></resource>'
    )
    quiz = '<questestinterop><assessment title="Quiz"><item title="no identifier"/></assessment></questestinterop>'
    contents = read(tmp_path, manifest(resource), q=quiz)
    assert [each.resource.id for each in contents.resources] == ["m/r"]


def test_a_cartridge_that_was_zipped_with_its_folder_is_read(tmp_path):
    path = tmp_path / "c.imscc"
    text = manifest(f'<resource identifier="q" type="{QTI}" href="q.xml"/>', item("q"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("course 1/imsmanifest.xml", text)
        archive.writestr("course 1/q.xml", "<questestinterop/>")
    at_root = tmp_path / "d.imscc"
    with zipfile.ZipFile(at_root, "w") as archive:
        archive.writestr("imsmanifest.xml", text)
        archive.writestr("q.xml", "<questestinterop/>")
    assert read_common_cartridge(path, None) == read_common_cartridge(at_root, None)
    assert read_common_cartridge(path, None).resources


def test_what_is_no_cartridge_is_a_problem(tmp_path):
    path = tmp_path / "x"
    for raw in (b"", b"PK\x03\x04 no zip", b"<html/>", b"{}", b"PK"):
        path.write_bytes(raw)
        assert read_common_cartridge(path, None).problems


TAGS = [
    "resource", "metadata", "lom", "general", "title", "string", "classification", "taxonPath", "taxon", "entry",
    "purpose", "value", "file", "item", "curriculumStandardsMetadataSet", "labelledGUID", "GUID", "label", "variant",
    "organizations", "organization", "resources",
]  # fmt: skip
XML = st.recursive(
    st.text("ab<&", max_size=6).map(lambda text: text.replace("<", "").replace("&", "")),
    lambda inner: st.builds(
        lambda tag, attributes, children: (
            f"<{tag} " + " ".join(f'{k}="{v}"' for k, v in attributes.items()) + f">{''.join(children)}</{tag}>"
        ),
        st.sampled_from(TAGS),
        st.dictionaries(
            st.sampled_from(["identifier", "identifierref", "type", "href", "resourcePartId"]),
            st.sampled_from(["r", "", "webcontent", QTI, "a.html", "imswl_xmlv1p3", "imsbasiclti_xmlv1p3", ".."]),
            max_size=4,
        ),
        st.lists(inner, max_size=4),
    ),
    max_leaves=25,
)  # fmt: skip


@given(st.lists(XML, max_size=6))
def test_any_manifest_gets_an_answer(tmp_path_factory, parts):
    path = tmp_path_factory.getbasetemp() / "any-manifest.xml"
    path.write_text(f"<manifest identifier='m'>{''.join(parts)}</manifest>", encoding="utf-8")
    assert not [each for each in read_common_cartridge(path, None).problems if "no XML" in each.reason]


@given(st.binary(max_size=300), st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"<"]))
def test_any_bytes_get_an_answer(tmp_path_factory, raw, begin):
    path = tmp_path_factory.getbasetemp() / "any-bytes.imscc"
    path.write_bytes(begin + raw)
    assert read_common_cartridge(path, None).problems
