"""What xAPI 1.0.3 (part 2) and 2.0 allow in a statement, and the path that is named where one differs."""

import copy

import pytest

from services.ingest.formats.xapi.statements import Tolerance, problems_of

STATEMENT = {
    "id": "6690e6c9-3ef0-4ed3-8b37-7f3964730bee",
    "actor": {"mbox": "mailto:ada@example.com"},
    "verb": {"id": "http://adlnet.gov/expapi/verbs/answered", "display": {"en-US": "answered"}},
    "object": {
        "id": "http://example.com/questions/1",
        "definition": {
            "type": "http://adlnet.gov/expapi/activities/cmi.interaction",
            "interactionType": "choice",
            "choices": [{"id": "a", "description": {"en": "A"}}, {"id": "b"}],
            "correctResponsesPattern": ["a"],
        },
    },
    "result": {"score": {"scaled": 0.5, "raw": 1, "min": 0, "max": 2}, "success": True, "duration": "PT1M30.5S"},
    "context": {
        "registration": "ec531277-b57b-4c15-8d91-d292c5b2b8f7",
        "instructor": {"openid": "http://example.com/teachers/1"},
        "team": {"objectType": "Group", "account": {"homePage": "http://example.com", "name": "3b"}},
        "platform": "Example",
        "language": "en-GB",
        "contextActivities": {"parent": {"id": "http://example.com/quizzes/1"}, "grouping": []},
        "statement": {"objectType": "StatementRef", "id": "6690e6c9-3ef0-4ed3-8b37-7f3964730bee"},
        "extensions": {"http://example.com/any": None},
    },
    "timestamp": "2026-03-01T09:30:00.123Z",
    "version": "1.0.3",
    "attachments": [
        {
            "usageType": "http://example.com/usage",
            "display": {"en": "A scan"},
            "contentType": "image/png",
            "length": 27,
            "sha2": "0" * 64,
        }
    ],
}


def changed(path, value):
    """The statement with another value at a path of keys and indexes; without it where the value is `...`."""
    statement = copy.deepcopy(STATEMENT)
    *to, last = path
    part = statement
    for key in to:
        part = part[key] if isinstance(part, list) else part.setdefault(key, {})
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return statement


def test_a_statement_with_every_property_is_valid():
    assert problems_of(STATEMENT) == []
    assert problems_of(STATEMENT, "1.0") == []


VALID = [
    (("id",), "AA97B177-9383-4934-8543-0F91A7A02836"),
    (("actor",), {"objectType": "Agent", "name": "Ada", "mbox_sha1sum": "a" * 40}),
    (("actor",), {"objectType": "Group", "member": [{"mbox": "mailto:a@b"}]}),
    (("actor",), {"objectType": "Group", "mbox": "mailto:a@b", "member": []}),
    (("object",), {"objectType": "Agent", "mbox": "mailto:a@b", "name": "x"}),
    (("verb", "display"), {}),
    (("verb", "display"), {"zh-Hant-TW": "x", "sl-rozaj-biske-1994": "x", "de-DE-u-co-phonebk": "x", "i-klingon": "x"}),
    (("timestamp",), "2026-03-01T09:30Z"),
    (("timestamp",), "20260301T093000+0100"),
    (("timestamp",), "2026-03-01T09:30:00.123456789-05"),
    (("timestamp",), "2016-12-31T23:59:60Z"),
    (("timestamp",), "2026-03-01T09:30:00,5"),
    (("result", "duration"), "P4W"),
    (("result", "duration"), "P3Y1M29DT4H35M59.14S"),
    (("result", "score"), {"raw": -5}),
    (("result", "score"), {"raw": 0, "min": 0, "max": 0}),
    (("result", "extensions"), {"urn:x:y": {"deep": [None]}}),
    (("context", "contextActivities", "other"), [{"id": "urn:x:1"}, {"objectType": "Activity", "id": "urn:x:2"}]),
    (("authority",), {"objectType": "Group", "member": [{"mbox": "mailto:a@b"}, {"mbox": "mailto:c@d"}]}),
    (("version",), "1.0"),
    (("version",), "2.0.0"),
]


@pytest.mark.parametrize(("path", "value"), VALID, ids=lambda each: str(each)[:60])
def test_what_the_specification_allows_is_valid(path, value):
    statement = changed(path, value)
    if path == ("object",):
        del statement["context"]["platform"]
    assert problems_of(statement) == []


SUBSTATEMENT = {
    "objectType": "SubStatement",
    "actor": {"mbox": "mailto:a@b"},
    "verb": {"id": "http://example.com/v"},
    "object": {"objectType": "StatementRef", "id": "6690e6c9-3ef0-4ed3-8b37-7f3964730bee"},
}

INVALID = [
    (("actor",), ..., "actor"),
    (("actor",), "ada", "actor"),
    (("actor",), None, "actor"),
    (("actor",), {}, "actor"),
    (("actor",), {"mbox": "mailto:a@b", "openid": "http://a/b"}, "actor.openid"),
    (("actor",), {"mbox": "a@b"}, "actor.mbox"),
    (("actor",), {"mbox_sha1sum": "a" * 39}, "actor.mbox_sha1sum"),
    (("actor",), {"openid": "no scheme"}, "actor.openid"),
    (("actor",), {"account": {"name": "x"}}, "actor.account.homePage"),
    (("actor",), {"account": {"homePage": "http://a", "name": 1}}, "actor.account.name"),
    (("actor",), {"objectType": "Group"}, "actor.member"),
    (("actor",), {"objectType": "Group", "member": []}, "actor.member"),
    (
        ("actor",),
        {"objectType": "Group", "member": [{"objectType": "Group", "mbox": "mailto:a@b"}]},
        "actor.member[0].objectType",
    ),
    (("actor",), {"objectType": "agent", "mbox": "mailto:a@b"}, "actor.objectType"),
    (("actor",), {"mbox": "mailto:a@b", "age": 3}, "actor.age"),
    (("verb", "id"), "ab=c://should.fail.com", "verb.id"),
    (("verb", "display"), {"a12345678": "x"}, "verb.display[a12345678]"),
    (("verb", "display"), {"en": 3}, "verb.display[en]"),
    (("verb", "Id"), "x", "verb.Id"),
    (("object",), {"objectType": "Activity"}, "object.id"),
    (("object",), {"objectType": "Thing", "id": "urn:x:1"}, "object.objectType"),
    (("object", "definition", "interactionType"), ..., "object.definition.interactionType"),
    (("object", "definition", "choices"), [{"id": "a"}, {"id": "a"}], "object.definition.choices[1].id"),
    (("object", "definition", "correctResponsesPattern"), "a", "object.definition.correctResponsesPattern"),
    (("object", "definition", "extensions"), {"no scheme": 1}, "object.definition.extensions[no scheme]"),
    (("object",), SUBSTATEMENT | {"id": STATEMENT["id"]}, "object.id"),
    (("object",), SUBSTATEMENT | {"object": SUBSTATEMENT}, "object.object.objectType"),
    (("object",), {"objectType": "Agent", "mbox": "mailto:a@b"}, "context.platform"),
    (("result", "score", "scaled"), 1.01, "result.score.scaled"),
    (("result", "score", "raw"), 2.5, "result.score.raw"),
    (("result", "score", "raw"), -1, "result.score.raw"),
    (("result", "score", "min"), 3, "result.score.min"),
    (("result", "score", "max"), "2", "result.score.max"),
    (("result", "score", "max"), True, "result.score.max"),
    (("result", "success"), "true", "result.success"),
    (("result", "duration"), "P4W1D", "result.duration"),
    (("result", "duration"), "PT", "result.duration"),
    (("result", "duration"), "PA1H0M0S", "result.duration"),
    (("context", "registration"), "AA97B177-9383-4934-8543-0F91A7A028368", "context.registration"),
    (("context", "team"), {"mbox": "mailto:a@b"}, "context.team.objectType"),
    (("context", "contextActivities", "consequences"), [], "context.contextActivities.consequences"),
    (("context", "contextActivities", "parent"), ["x"], "context.contextActivities.parent[0]"),
    (("context", "language"), "something", "context.language"),
    (("timestamp",), "2008-09-15T15:53:00.601-00:00", "timestamp"),
    (("timestamp",), "2008-09-15T15:53:00.601-0000", "timestamp"),
    (("timestamp",), "2008-09-15T15:53:00.601-00", "timestamp"),
    (("timestamp",), "2008-13-15T15:53:00Z", "timestamp"),
    (("timestamp",), "01/011/2015", "timestamp"),
    (("version",), "0.9.9", "version"),
    (("version",), "1.1.0", "version"),
    (("authority",), {"objectType": "Group", "member": [{"mbox": "mailto:a@b"}]}, "authority.member"),
    (("attachments",), {}, "attachments"),
    (("attachments", 0, "length"), "27", "attachments[0].length"),
    (("attachments", 0, "sha2"), 12345, "attachments[0].sha2"),
    (("attachments", 0, "display"), ..., "attachments[0].display"),
    (("extra",), 1, "extra"),
    (("result", "extensions"), None, "result.extensions"),
]


@pytest.mark.parametrize(("path", "value", "field"), INVALID, ids=lambda each: str(each)[:60])
def test_the_property_in_which_a_statement_differs_is_named(path, value, field):
    problems = problems_of(changed(path, value))
    assert problems[0].field == field
    assert problems[0].reason


def test_every_problem_of_a_statement_is_named():
    statement = changed(("verb", "id"), 1) | {"actor": {}, "id": "x"}
    assert {problem.field for problem in problems_of(statement)} == {"id", "actor", "verb.id"}


def test_voiding_names_a_statement():
    statement = changed(("verb", "id"), "http://adlnet.gov/expapi/verbs/voided")
    assert [problem.field for problem in problems_of(statement)] == ["object.objectType"]


def test_agents_and_groups_of_a_context_are_known_since_2_0():
    agents = [{"objectType": "contextAgent", "agent": {"mbox": "mailto:a@b"}, "relevantTypes": ["http://a/b"]}]
    statement = changed(("context", "contextAgents"), agents) | {"version": "2.0.0"}
    assert problems_of(statement, "2.0") == []
    assert [problem.field for problem in problems_of(statement, "1.0")] == ["context.contextAgents", "version"]


def test_a_producer_may_bend_what_its_profile_tolerates():
    statement = changed(("object", "objectType"), "GroupActivity")
    statement["object"]["id"] = "438AD672-DE2C-4F0B-8876-35444E7DD746"
    assert problems_of(statement, tolerance=Tolerance(("GroupActivity",), any_activity_id=True)) == []
    assert problems_of(statement)
