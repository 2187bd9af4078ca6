"""Which tracking events are left out, by their names, and why."""

from __future__ import annotations

SAME_ACT = "a copy of an answer that problem_check has"
COARSER = "a grade of a subsection or course, which its problems have"
SAME_CHANGE = "a copy of a change by staff that edx.grades has"
NOT_ANSWERED = "a hint, reset, saved or refused answer, without an outcome"

# The first that begins a name decides.
_BY_BEGINNING: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("problem_rescore", "problem_delete_state", "problem_override_score"),
        SAME_CHANGE,
    ),
    (("edx.problem.completed", "problem_graded"), SAME_ACT),
    (("edx.grades.", "edx.course.grade.", "edx.certificate."), COARSER),
    (
        (
            "problem_",
            "save_problem_",
            "reset_problem",
            "showanswer",
            "show_answer",
            "edx.problem.hint.",
            "edx.drag_and_drop_v2.",
            "openassessment",
        ),
        NOT_ANSWERED,
    ),
    (
        (
            "edx.video.",
            "video_",
            "load_video",
            "play_video",
            "pause_video",
            "stop_video",
            "seek_video",
            "speed_change_video",
            "complete_video",
            "show_transcript",
            "hide_transcript",
        ),
        "video",
    ),
    (("/", "edx.ui.", "seq_", "page_close", "book", "textbook.", "edx.bookmark.", "edx.course.tool."), "navigation"),
    (("edx.forum.",), "discussion"),
    (("edx.course.enrollment.",), "enrollment"),
    (("edx.special_exam.",), "an attempt at an exam, without an outcome"),
)
_OTHERS = "another event without an outcome"


def reason_to_leave_out(name: str) -> str:
    """Why an event is left out whose outcome is not read, in the words of a summary."""
    return next((reason for beginnings, reason in _BY_BEGINNING if name.startswith(beginnings)), _OTHERS)
