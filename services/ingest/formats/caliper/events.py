"""What Caliper says of its events: their actions, and which entities they are about.

Where producers are known to send more than the specification allows, that is allowed too, and said so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class EventRule:
    """What an event of a type may hold; types of entities are divided by |.

    Attributes:
        actions: the terms of its actions; empty: every action of Caliper.
        object: what it is about.
        generated: what comes of it.
        target: which part of the object it is about.
        left_out: the reason in a summary, where the event never says anything about a learner's outcome.
        needs: what else it must name.
    """

    actions: frozenset[str]
    object: str = "Entity"
    generated: str = "Entity"
    target: str = "Entity"
    left_out: str = ""
    needs: tuple[str, ...] = ()


def _rule(
    actions: str, about: str = "Entity", generated: str = "Entity", target: str = "Entity", why: str = ""
) -> EventRule:
    return EventRule(frozenset(actions.split()), about, generated, target, f"Caliper: {why}" if why else "")


_RESOURCE = "DigitalResource"
_POINTS = "|Score|Result"

EVENTS = {
    # Completed for Submitted, and the Attempt as the object: Blackboard Learn and Canvas.
    "AssessmentEvent": _rule(
        "Started Paused Resumed Restarted Reset Submitted Completed",
        "AssignableDigitalResource|Attempt",
        "Attempt" + _POINTS,
    ),
    # Submitted for Completed: Blackboard Learn.
    "AssessmentItemEvent": _rule(
        "Started Skipped Completed Submitted Reviewed Viewed",
        "AssessmentItem|Attempt",
        "Attempt|Response" + _POINTS,
    ),
    "AssignableEvent": _rule(
        "Activated Deactivated Started Completed Submitted Reviewed Abandoned Hid Showed",
        "AssignableDigitalResource|Attempt",
        "Attempt" + _POINTS,
        _RESOURCE,
    ),
    "GradeEvent": _rule("Graded", "Attempt", "Score|Result"),
    "OutcomeEvent": _rule("Graded", "Attempt", "Score|Result"),
    "ResultEvent": _rule("Graded", "Attempt", "Score|Result"),
    "Event": _rule(""),
    "AnnotationEvent": _rule(
        "Bookmarked Highlighted Shared Tagged Attached Classified Commented Described Disliked Identified Liked Linked "
        "Questioned Recommended Subscribed",
        _RESOURCE,
        "Annotation",
        _RESOURCE,
        "annotations",
    ),
    "FeedbackEvent": _rule("Commented Ranked", "Entity", "Comment|Rating", _RESOURCE, "feedback and ratings"),
    "ForumEvent": _rule("Subscribed Unsubscribed", "Forum", why="forums"),
    "MessageEvent": _rule("Posted MarkedAsRead MarkedAsUnread", "Message", why="forums"),
    "ThreadEvent": _rule("MarkedAsRead MarkedAsUnread", "Thread", why="forums"),
    "MediaEvent": _rule(
        "Started Ended Paused Resumed Restarted ForwardedTo JumpedTo Rewound ChangedResolution ChangedSize "
        "ChangedSpeed ChangedVolume EnabledClosedCaptioning DisabledClosedCaptioning EnteredFullScreen "
        "ExitedFullScreen Muted Unmuted OpenedPopout ClosedPopout",
        "MediaObject",
        target="MediaLocation|MediaObject",
        why="video and audio",
    ),
    "NavigationEvent": _rule(
        "NavigatedTo", f"{_RESOURCE}|SoftwareApplication|Organization", target=_RESOURCE, why="navigation and views"
    ),
    # The frame of a resource is any part of it: Blackboard Learn names chapters.
    "ViewEvent": _rule(
        "Viewed",
        f"{_RESOURCE}|SoftwareApplication|Organization|Result|Score|Collection",
        target=_RESOURCE,
        why="navigation and views",
    ),
    "ReadingEvent": _rule("Searched Viewed NavigatedTo", _RESOURCE, target=_RESOURCE, why="navigation and views"),
    "QuestionnaireEvent": _rule("Started Completed Submitted", "Questionnaire", why="surveys"),
    "QuestionnaireItemEvent": _rule(
        "Started Skipped Completed Submitted", "QuestionnaireItem", "Response", why="surveys"
    ),
    "SurveyEvent": _rule("OptedIn OptedOut", "Survey", why="surveys"),
    "SurveyInvitationEvent": _rule("Sent Accepted Declined", "SurveyInvitation", why="surveys"),
    "ResourceManagementEvent": _rule(
        "Archived Copied Created Deleted Described Downloaded Modified Printed Published Restored Retrieved Saved "
        "Unpublished Uploaded",
        f"{_RESOURCE}|Collection",
        f"{_RESOURCE}|Collection",
        why="management of resources",
    ),
    "SearchEvent": _rule("Searched", f"{_RESOURCE}|SoftwareApplication|Collection", "SearchResponse", why="searches"),
    # The session that ended, in 1.0.
    "SessionEvent": _rule(
        "LoggedIn LoggedOut TimedOut", "Session|SoftwareApplication", target=f"{_RESOURCE}|Session", why="sessions"
    ),
    "ToolLaunchEvent": replace(
        _rule(
            "Launched Returned",
            "SoftwareApplication",
            f"{_RESOURCE}|Session|Attempt{_POINTS}",
            _RESOURCE,
            "launches and uses of tools",
        ),
        needs=("federatedSession",),
    ),
    "ToolUseEvent": _rule(
        "Used",
        "SoftwareApplication",
        "AggregateMeasureCollection|AggregateMeasure",
        "SoftwareApplication",
        "launches and uses of tools",
    ),
}
"""Every type of event, with its rule."""

ACTIONS = frozenset().union(*(rule.actions for rule in EVENTS.values())) | {"Added", "Removed", "Evaluated", "Learned"}
"""Every action."""

CANONICAL = {action.casefold(): action for action in ACTIONS}
"""Every action by its lower case: producers write MarkedAsUnRead and MarkedAsUnread."""

_PROFILES = (
    "Annotation Assessment Assignable Feedback Forum General Grading Media Reading ResourceManagement Search Session "
    "Survey ToolLaunch ToolUse"
)
PROFILES = frozenset(f"{name}Profile" for name in _PROFILES.split())
"""The profiles of Caliper 1.2."""

COMMON = {
    "actor": "Agent",
    "edApp": "SoftwareApplication",
    "referrer": "DigitalResource|SoftwareApplication",
    "group": "Organization",
    "membership": "Membership",
    "session": "Session",
    "federatedSession": "LtiSession",
}
"""What the properties of every event hold, by name."""
