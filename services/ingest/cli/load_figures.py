"""What a file holds, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from services.ingest.application.file_figures import COMPARED_MAX, SKILLS_MAX, FileFigures
from services.ingest.domain.submission import Instant

_SKILLS_SHOWN = 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def figures_for_people(figures: FileFigures, time_zone: str) -> Iterator[tuple[str, str, str]]:
    """What is counted, the count, and a remark."""
    yield "learners", f"{figures.learners:,}", ""
    yield "acts", f"{figures.acts:,}", ""
    most = ", ".join(f"{skill} ({count:,})" for skill, count in figures.skills.most_common(_SKILLS_SHOWN))
    or_more = "or more; " if len(figures.skills) >= SKILLS_MAX else ""
    yield "skills", f"{len(figures.skills):,}", f"{or_more}most often {most}" if most else ""
    if figures.without_skills:
        remark = "acts: they teach nothing unless the catalog tags their items or activities"
        yield "without a skill", f"{figures.without_skills:,}", remark
    if figures.first_at is not None and figures.last_at is not None:
        first, last = _local(figures.first_at, time_zone), _local(figures.last_at, time_zone)
        yield "dates", "", f"{first} to {last} ({time_zone})"
    if figures.undated:
        yield "without a date", f"{figures.undated:,}", "acts"
    if figures.identical or figures.differing:
        compared = f" of the first {COMPARED_MAX:,} acts" if figures.acts > COMPARED_MAX else ""
        remark = f"{figures.identical:,} identical, {figures.differing:,} differing{compared}"
        yield "repeats", f"{figures.identical + figures.differing:,}", f"{remark}; without event_id, further acts"


def figures_for_machines(figures: FileFigures) -> dict[str, object]:
    """The same as JSON; times are in seconds since 1970."""
    return {
        "learners": figures.learners,
        "acts": figures.acts,
        "skills": len(figures.skills),
        "without_skills": figures.without_skills,
        "first_at": None if figures.first_at is None else figures.first_at.seconds,
        "last_at": None if figures.last_at is None else figures.last_at.seconds,
        "undated": figures.undated,
        "identical": figures.identical,
        "differing": figures.differing,
    }


def _local(instant: Instant, time_zone: str) -> str:
    try:
        moment = (_EPOCH + timedelta(seconds=instant.seconds)).astimezone(ZoneInfo(time_zone))
    except OverflowError:
        return f"{instant.seconds} s since 1970"
    return moment.strftime("%Y-%m-%d %H:%M")
