"""What Caliper says of its entities: which are kinds of which, and what their properties hold.

A property holds text, an integer, a decimal, a boolean, a datetime, a duration, a map, an entity of one of several
types ("Person", "Rating|Comment") or its IRI, or a list of one of these ("[Agent]").
"""

from __future__ import annotations

_KINDS = """
Agent: Person SoftwareApplication Organization
Organization: CourseOffering Group
CourseOffering: CourseSection
DigitalResource: AssignableDigitalResource DigitalResourceCollection MediaObject MediaLocation Message Frame Page
  WebPage Document Chapter Link LtiLink Question QuestionnaireItem SurveyInvitation Reading EpubVolume EpubPart
  EpubChapter EpubSubChapter
AssignableDigitalResource: Assessment AssessmentItem
DigitalResourceCollection: Forum Thread Questionnaire
MediaObject: AudioObject ImageObject VideoObject
Question: RatingScaleQuestion MultiselectQuestion OpenEndedQuestion DateTimeQuestion
Collection: AggregateMeasureCollection Survey
Scale: LikertScale MultiselectScale NumericScale
Response: FillinBlankResponse MultipleChoiceResponse MultipleResponseResponse SelectTextResponse TrueFalseResponse
  RatingScaleResponse MultiselectResponse OpenEndedResponse DateTimeResponse
Annotation: BookmarkAnnotation HighlightAnnotation SharedAnnotation TagAnnotation
Session: LtiSession
Entity: Agent DigitalResource Collection Scale Response Annotation Session Attempt Result Score Membership
  LearningObjective Comment Rating Query SearchResponse AggregateMeasure
Thing: Entity TextPositionSelector SystemIdentifier
"""

_PROPERTIES = """
Thing: extensions=map
Entity: name=string description=string dateCreated=datetime dateModified=datetime otherIdentifiers=[SystemIdentifier]
SystemIdentifier: identifier=string identifierType=string source=SoftwareApplication
TextPositionSelector: start=integer end=integer
SoftwareApplication: host=string userAgent=string ipAddress=string version=string
Organization: subOrganizationOf=Organization members=[Person]
CourseOffering: courseNumber=string academicSession=string
CourseSection: category=string
Membership: member=Person organization=Organization roles=[string] status=string
DigitalResource: creators=[Agent] mediaType=string storageName=string keywords=[string] isPartOf=Entity
  learningObjectives=[LearningObjective] datePublished=datetime version=string
DigitalResourceCollection: items=[DigitalResource]
Collection: items=[Entity]
AggregateMeasureCollection: items=[AggregateMeasure]
Survey: items=[Questionnaire]
Forum: items=[Thread]
Thread: items=[Message] isPartOf=Forum
Message: replyTo=Message body=string attachments=[DigitalResource] isPartOf=Thread
AssignableDigitalResource: dateToActivate=datetime dateToShow=datetime dateToStartOn=datetime dateToSubmit=datetime
  maxAttempts=integer maxSubmits=integer maxScore=decimal
Assessment: items=[AssessmentItem]
AssessmentItem: isTimeDependent=boolean
MediaObject: duration=duration
MediaLocation: currentTime=duration
AudioObject: volumeLevel=string volumeMin=string volumeMax=string muted=boolean
Frame: index=integer
LtiLink: messageType=string
Attempt: assignee=Person assignable=DigitalResource isPartOf=Attempt count=integer startedAtTime=datetime
  endedAtTime=datetime duration=duration
Response: attempt=Attempt startedAtTime=datetime endedAtTime=datetime duration=duration
FillinBlankResponse: values=[string]
MultipleResponseResponse: values=[string]
SelectTextResponse: values=[string]
MultipleChoiceResponse: value=string
TrueFalseResponse: value=string
OpenEndedResponse: value=string
RatingScaleResponse: selections=[string]
MultiselectResponse: selections=[string]
DateTimeResponse: dateTimeSelected=datetime
Result: attempt=Attempt resultScore=decimal maxResultScore=decimal scoredBy=Agent comment=string normalScore=decimal
  penaltyScore=decimal extraCreditScore=decimal totalScore=decimal
Score: attempt=Attempt scoreGiven=decimal maxScore=decimal scoredBy=Agent comment=string
Annotation: annotator=Person annotated=DigitalResource
BookmarkAnnotation: bookmarkNotes=string
HighlightAnnotation: selection=TextPositionSelector selectionText=string
SharedAnnotation: withAgents=[Agent]
TagAnnotation: tags=[string]
Session: user=Person client=SoftwareApplication startedAtTime=datetime endedAtTime=datetime duration=duration
LtiSession: messageParameters=map
Comment: commenter=Person commentedOn=Entity value=string
Rating: rater=Person rated=Entity question=Question selections=[string] ratingComment=Comment
Question: questionPosed=string
RatingScaleQuestion: scale=Scale
MultiselectQuestion: points=integer itemLabels=[string] itemValues=[string]
DateTimeQuestion: minDateTime=datetime minLabel=string maxDateTime=datetime maxLabel=string
Questionnaire: items=[QuestionnaireItem]
QuestionnaireItem: question=Question categories=[string] weight=decimal
SurveyInvitation: rater=Person survey=Survey sentCount=integer dateSent=datetime
LikertScale: scalePoints=integer itemLabels=[string] itemValues=[string]
MultiselectScale: scalePoints=integer itemLabels=[string] itemValues=[string] isOrderedSelection=boolean
  minSelections=integer maxSelections=integer
NumericScale: minValue=decimal minLabel=string maxValue=decimal maxLabel=string step=decimal
Query: creator=Person searchTarget=Entity searchTerms=string
SearchResponse: searchProvider=SoftwareApplication searchTarget=Entity query=Query searchResultsItemCount=integer
  searchResults=[Entity]
AggregateMeasure: metric=string metricValue=decimal maxMetricValue=decimal startedAtTime=datetime endedAtTime=datetime
"""

WITHOUT_ID = frozenset({"TextPositionSelector", "SystemIdentifier"})
"""Types that have no id."""

REQUIRED = {"AggregateMeasure": ("metric", "metricValue"), "TextPositionSelector": ("start", "end")}
"""What a type must have besides."""

NEVER_NULL = {"Score": ("attempt",), "Result": ("attempt",)}
"""What a type may leave out, but not send as null where it is described alone."""

VALUES = {
    ("Membership", "status"): frozenset({"Active", "Inactive", "Deleted"}),
    # Each may have a part after #, as Instructor#Grader.
    ("Membership", "roles"): frozenset(
        {
            "Administrator",
            "ContentDeveloper",
            "Instructor",
            "Learner",
            "Manager",
            "Member",
            "Mentor",
            "Officer",
            "TeachingAssistant",
        }
    ),
    ("LtiLink", "messageType"): frozenset({"LtiResourceLinkRequest", "LtiDeepLinkingRequest"}),
    ("SystemIdentifier", "identifierType"): frozenset(
        {
            "AccountUserName",
            "EmailAddress",
            "LisSourcedId",
            "LtiContextId",
            "LtiDeploymentId",
            "LtiPlatformId",
            "LtiToolId",
            "LtiUserId",
            "OneRosterSourcedId",
            "Other",
            "SisSourcedId",
            "SystemId",
        }
    ),
    ("AggregateMeasure", "metric"): frozenset(
        {
            "AssessmentsPassed",
            "AssessmentsSubmitted",
            "MinutesOnTask",
            "SkillsMastered",
            "StandardsMastered",
            "UnitsCompleted",
            "UnitsPassed",
            "WordsRead",
        }
    ),
}
"""The terms that a property may hold, where Caliper lists them; names of other vocabularies are none of them."""


def _lines(table: str) -> dict[str, list[str]]:
    joined = table.strip().replace("\n  ", " ").splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(": ") for line in joined)}


_SUPERTYPE = {kind: name for name, kinds in _lines(_KINDS).items() for kind in kinds}


def _above(kind: str) -> tuple[str, ...]:
    above = _SUPERTYPE.get(kind)
    return (kind,) if above is None else (kind, *_above(above))


# By type: the type itself and every type that it is a kind of, nearest first; and what its properties hold.
_ABOVE = {kind: _above(kind) for kind in _SUPERTYPE}
_OWN = {name: dict(entry.split("=", 1) for entry in entries) for name, entries in _lines(_PROPERTIES).items()}
_HOLDS = {
    kind: {name: holds for each in reversed(above) for name, holds in _OWN.get(each, {}).items()}
    for kind, above in _ABOVE.items()
}


def is_known(term: str) -> bool:
    """Whether it is a type of entity in Caliper."""
    return term in _ABOVE


def is_a(term: str, *types: str) -> bool:
    """Whether a type is one of these, or a kind of one."""
    return any(each in types for each in _ABOVE.get(term, (term,)))


def properties_of(term: str) -> dict[str, str]:
    """What each property of a type holds; of an unknown type, what every entity has."""
    return _HOLDS.get(term, _HOLDS["Entity"])
