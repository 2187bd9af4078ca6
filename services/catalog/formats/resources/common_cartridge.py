"""Common Cartridges 1.0 to 1.3 and thin ones, and packages of QTI: the manifest, its metadata, and the QTI in it.

What an item of the organization shows is a resource of its title; so are pages that no item shows, and assessments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from services.catalog.domain.model import Resource, ResourceStatus
from services.catalog.formats.resources.cartridge_files import CartridgeFiles, MemberUnusableError, opened_cartridge
from services.catalog.formats.resources.cartridge_metadata import Lom, lom_of, standards_of, text_of
from services.catalog.formats.resources.contents import Alignment, FoundResource, Relation, ResourceContents, kind_of
from services.common.resource_kinds import ResourceKindName

_ASSESSMENT = re.compile(r"imsqti_xmlv1p2(?:p1)?/imscc_xmlv1p\d+/assessment|imsqti_(?:test|assessment)_xmlv\dp\d.*")
_TAKEN = re.compile(r"webcontent$|imswl|imsbasiclti|assignment_xml|imsqti_")
_LEARNERS = {"learner", "student"}
_OF_TEACHERS = {"lessonplan", "syllabus"}
_QTI_ITEM = re.compile(r"imsqti_(?:item|apipitem)_xmlv\dp\d.*")
# They say in a file what they are, or in the manifest itself.
_READ = ("imswl", "imsbasiclti", "assignment_xml")
_INLINE = ("webLink", "cartridge_basiclti_link")
_PAGES = {".html", ".htm", ".xhtml"}
_VIDEOS = {".mp4", ".m4v", ".mov", ".webm", ".avi", ".mkv"}
# The file with which Canvas makes a page an assignment.
_SETTINGS_OF_ASSIGNMENT = "assignment_settings.xml"
_ROOTS = {
    "qti-assessment-item": "a QTI item on its own; the manifest of its package says what it assesses",
    "assessmentItem": "a QTI item on its own; the manifest of its package says what it assesses",
    "questestinterop": "QTI on its own; the manifest of its package says what it assesses",
}


def read_common_cartridge(path: Path, id_prefix: str | None) -> ResourceContents:
    """The resources of a cartridge.

    Args:
        path: the cartridge, a folder that it was unpacked into, or the manifest there.
        id_prefix: what its ids begin with; None: the identifier of the manifest and a slash.
    """
    contents = ResourceContents()
    with opened_cartridge(path) as files:
        _read(path, files, contents, id_prefix)
    return contents


def _read(path: Path, files: CartridgeFiles, contents: ResourceContents, id_prefix: str | None) -> None:
    try:
        root = files.manifest()
    except MemberUnusableError as error:
        contents.reject("", f"{error}")
        return
    if root.tag in _ROOTS:
        contents.leave_out(_ROOTS[root.tag], path.name)
    elif root.tag != "manifest":
        contents.reject("", f"has the root {root.tag[:80]!r}, and is no manifest; name a cartridge or its manifest")
    else:
        identifier = (root.get("identifier") or "").strip()
        if id_prefix is None and not identifier:
            contents.reject("identifier", "of the manifest is missing; give one, or name one with --id-prefix")
            return
        contents.scope = f"{identifier}/" if id_prefix is None else id_prefix
        _Reader(root, files, contents).read()


@dataclass(frozen=True, slots=True)
class _Described:
    """What a file says of a resource.

    Attributes:
        title: its title.
        description: its description.
        address: where a link leads.
        titles: of the items of an assessment, by their identifiers.
    """

    title: str = ""
    description: str = ""
    address: str = ""
    titles: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Reader:
    root: Element
    files: CartridgeFiles
    contents: ResourceContents
    titles: dict[str, str] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)
    described: dict[str, _Described | str] = field(default_factory=dict)

    def read(self) -> None:
        resources = [each for part in self.root.findall("resources") for each in part.findall("resource")]
        known = {each.get("identifier"): (each.get("type") or "").strip() for each in resources}
        for item in self.root.iterfind("organizations/organization//item"):
            shown = item.get("identifierref")
            if shown and shown not in known:
                self.contents.leave_out("an item that shows a resource which the manifest does not have", shown[:80])
            elif shown:
                self.titles.setdefault(shown, text_of(item.find("title")))
        for each in resources:
            self._replace(each, known)
        course = lom_of(self.root.find("metadata"))
        identifiers: set[str] = set()
        for number, element in enumerate(resources):
            path = f"resources.resource[{number}].identifier"
            identifier = (element.get("identifier") or "").strip()
            if not identifier:
                self.contents.reject(path, "is missing; give the resource one")
            elif identifier in identifiers:
                self.contents.reject(path, f"{identifier!r} identifies an earlier resource, too; give each its own")
            else:
                identifiers.add(identifier)
                self._read_resource(element, identifier, course, path)

    def _replace(self, element: Element, forms: Mapping[str | None, str]) -> None:
        """Note that a variant is taken instead of a resource, and shown as it is."""
        identifier, variant = element.get("identifier") or "", element.find("variant")
        better = "" if variant is None else variant.get("identifierref") or ""
        if _TAKEN.match(forms.get(better, "")):
            self.replaced.add(identifier)
            if identifier in self.titles:
                self.titles.setdefault(better, self.titles[identifier])

    def _read_resource(self, element: Element, identifier: str, course: Lom, path: str) -> None:
        form = (element.get("type") or "").strip()
        lom = lom_of(element.find("metadata"))
        href = element.get("href") or next((each.get("href") or "" for each in element.findall("file")), "")
        if reason := self._reason_to_leave_out(element, identifier, form, lom, href):
            self.contents.leave_out(reason, identifier)
            return
        kind, described = _kind_of(form, href, lom, is_assignment=_is_assignment(element, form)), None
        if form.startswith(_READ) or _ASSESSMENT.fullmatch(form):
            described = self._described(element, identifier, href)
        of_parts = standards_of(element)
        standards = [*lom.standards, *(each for group in of_parts.values() for each in group)]
        resource = self._resource(identifier, kind, lom, course, described or _Described(), href)
        found = FoundResource(resource, identifier, _as_alignments(standards, kind))
        if _QTI_ITEM.fullmatch(form):
            found = replace(found, resource=replace(resource, status=ResourceStatus.RETIRED))
        self.contents.add(found, path)
        if _ASSESSMENT.fullmatch(form):
            titles = described.titles if described else {}
            for part, of_part in of_parts.items():
                # Some name the assessment itself as the part.
                if part in titles or (described is None and part not in ("", identifier)):
                    self._add_part(part, of_part, resource, titles.get(part, ""), path)

    def _described(self, element: Element, identifier: str, href: str) -> _Described | None:
        for inline in _INLINE:
            if (found := element.find(inline)) is not None:
                return _described_by(found)
        # Several resources may have one file.
        if href not in self.described:
            try:
                self.described[href] = _described_by(self.files.root_of(href))
            except MemberUnusableError as error:
                self.described[href] = str(error)
        described = self.described[href]
        if isinstance(described, _Described):
            return described
        # What the manifest says of the resource is enough to take it.
        self.contents.leave_out_value("a file of the cartridge that cannot be read", f"{identifier}: {described}"[:200])
        return None

    def _reason_to_leave_out(self, element: Element, identifier: str, form: str, lom: Lom, href: str) -> str:
        shown = identifier in self.titles or bool(standards_of(element))
        page = PurePosixPath(unquote(href)).suffix.lower() in _PAGES
        # Canvas shows assignments and pages that the specification would only let belong to others.
        belongs = form.startswith("associatedcontent")
        own = belongs and (_is_assignment(element, form) or (page and identifier in self.titles))
        reasons = {
            "files that belong to other resources": belongs and not own,
            "a discussion topic": form.startswith("imsdt"),
            "a bank of questions, which no learner sees as such": form.endswith("/question-bank"),
            "another form of a resource": identifier in self.replaced,
            f"a resource for {', '.join(sorted(lom.roles))}": bool(lom.roles) and not lom.roles & _LEARNERS,
            "a plan or syllabus for teachers": (element.get("intendeduse") or "").lower() in _OF_TEACHERS,
            "a file that pages link to": form == "webcontent" and not page and not shown,
            "a tool that no item shows": form.startswith("imsbasiclti") and not shown,
            f"a resource of the type {form[:80]!r}": not own and not _TAKEN.match(form),
        }
        return next((reason for reason, applies in reasons.items() if applies), "")

    def _resource(
        self, identifier: str, kind: ResourceKindName, lom: Lom, course: Lom, described: _Described, href: str
    ) -> Resource:
        contents = self.contents
        name = PurePosixPath(unquote(href)).stem.replace("-", " ").replace("_", " ")
        return Resource(
            id=f"{contents.scope}{identifier}",
            title=contents.title(
                self.titles.get(identifier) or lom.title or described.title or name or identifier, identifier
            ),
            kind=kind,
            description=contents.description(lom.description or described.description, identifier),
            provider=contents.name("provider", lom.publisher or course.publisher, identifier),
            url=contents.url(described.address, identifier) if described.address else "",
            grades=contents.grades(lom.levels, identifier),
            language=contents.language(lom.language or course.language, identifier),
            minutes=contents.minutes(lom.lengths, identifier),
            license=contents.name("license", lom.rights or course.rights, identifier),
            topics=contents.topics(lom.keywords, identifier),
        )

    def _add_part(self, part: str, standards: tuple[Alignment, ...], whole: Resource, title: str, path: str) -> None:
        """Add an item of an assessment, retired: nobody is sent to it, and answers to it find their skills."""
        resource = Resource(
            id=f"{self.contents.scope}{part}",
            title=self.contents.title(title or whole.title, part),
            kind=ResourceKindName.ASSESSMENT,
            status=ResourceStatus.RETIRED,
            language=whole.language,
        )
        self.contents.add(
            FoundResource(resource, part, _as_alignments(standards, ResourceKindName.ASSESSMENT)), f"{path}[{part}]"
        )


def _described_by(root: Element) -> _Described:
    link = root.find("url")
    return _Described(
        title=text_of(root.find("title")) or next((title for each in root.iter() if (title := each.get("title"))), ""),
        description=text_of(root.find("description")),
        address=link.get("href") or "" if link is not None else "",
        titles={ident: each.get("title") or "" for each in root.iter("item") if (ident := each.get("ident"))},
    )


def _is_assignment(element: Element, form: str) -> bool:
    names = (PurePosixPath(each.get("href") or "").name for each in element.findall("file"))
    of_use = (element.get("intendeduse") or "").lower() == "assignment"
    return form.startswith("assignment_xml") or of_use or _SETTINGS_OF_ASSIGNMENT in names


def _kind_of(form: str, href: str, lom: Lom, *, is_assignment: bool) -> ResourceKindName:
    if _ASSESSMENT.fullmatch(form) or _QTI_ITEM.fullmatch(form):
        return ResourceKindName.ASSESSMENT
    if is_assignment:
        return ResourceKindName.PRACTICE
    if PurePosixPath(unquote(href)).suffix.lower() in _VIDEOS:
        return ResourceKindName.VIDEO
    return kind_of(lom.types) or ResourceKindName.LESSON


def _as_alignments(standards: Iterable[Alignment], kind: ResourceKindName) -> tuple[Alignment, ...]:
    assesses = kind in (ResourceKindName.ASSESSMENT, ResourceKindName.PRACTICE)
    relation = Relation.ASSESSES if assesses else Relation.TEACHES
    return tuple(dict.fromkeys(replace(each, relation=relation) for each in standards))
