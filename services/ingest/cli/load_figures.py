"""What a file holds, for people and for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from services.ingest.application.file_figures import COMPARED_MAX, ITEMS_MAX, SKILLS_MAX, FileFigures
from services.ingest.domain.submission import Instant

_NAMES_SHOWN = 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def figures_for_people(figures: FileFigures, time_zone: str) -> Iterator[tuple[str, str, str]]:
    """What is counted, the count, and a remark."""
    yield "learners", f"{figures.learners:,}", ""
    yield "acts", f"{figures.acts:,}", ""
    yield "skills", f"{len(figures.skills):,}", _most_of(figures.skills, SKILLS_MAX)
    yield from _compared_with_the_catalog(figures)
    if figures.first_at is not None and figures.last_at is not None:
        first, last = _local(figures.first_at, time_zone), _local(figures.last_at, time_zone)
        yield "dates", "", f"{first} to {last} ({time_zone})"
    if figures.undated:
        yield "without a date", f"{figures.undated:,}", "acts"
    if figures.identical or figures.differing:
        compared = f" of the first {COMPARED_MAX:,} acts" if figures.acts > COMPARED_MAX else ""
        remark = f"{figures.identical:,} identical, {figures.differing:,} differing{compared}"
        yield "repeats", f"{figures.identical + figures.differing:,}", f"{remark}; without event_id, further acts"


def _compared_with_the_catalog(figures: FileFigures) -> Iterator[tuple[str, str, str]]:
    asked = not figures.catalog.not_asked
    if asked and figures.skills:
        unknown = figures.unknown_skills
        yield "unknown skills", f"{len(unknown):,}", _most_of(unknown, SKILLS_MAX) or "all are in the catalog"
    if figures.without_skills:
        remark = "acts: they teach nothing unless the catalog tags their items or activities"
        if asked:
            tagged = figures.without_skills - figures.untagged
            remark = f"acts, of which {tagged:,} get the skills that the catalog has for their item or activity"
        yield "without a skill", f"{figures.without_skills:,}", remark
    if items := figures.untagged_items:
        remark = f"items or activities of {figures.untagged:,} acts, which teach nothing until the catalog tags them; "
        yield "untagged", f"{len(items):,}", remark + _most_of(items, ITEMS_MAX)
    if not asked:
        yield "catalog", "", f"not asked: {figures.catalog.not_asked}"


def _most_of(names: Counter[str], counted_max: int) -> str:
    most = ", ".join(f"{name} ({count:,})" for name, count in names.most_common(_NAMES_SHOWN))
    or_more = "or more; " if len(names) >= counted_max else ""
    return f"{or_more}most often {most}" if most else ""


def figures_for_machines(figures: FileFigures) -> dict[str, object]:
    """The same as JSON; times are in seconds since 1970."""
    return {
        "learners": figures.learners,
        "acts": figures.acts,
        "skills": len(figures.skills),
        "without_skills": figures.without_skills,
        "catalog": {"not_asked": figures.catalog.not_asked}
        if figures.catalog.not_asked
        else {
            "unknown_skills": len(figures.unknown_skills),
            "untagged": figures.untagged,
            "untagged_items": len(figures.untagged_items),
        },
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
