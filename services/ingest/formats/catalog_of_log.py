"""The catalog that a log implies: its problems as practice resources, and their skills.

For logs without a catalog. A problem's tags are the union of the skills of its responses, each weighted by the share of
the responses that name it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from services.ingest.application.ports import FileRow, Row
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.formats import Format, read_events

CatalogLine = tuple[Literal["skill", "resource"], dict[str, Any]]


def catalog_of_log(
    path: Path, *, file_format: Format = Format.ASSISTMENTS, framework: str = "ASSISTments"
) -> Iterator[CatalogLine]:
    """Skills, then resources, each sorted by id, as lines for the catalog's import.

    Raises:
        FileUnusableError: when the file cannot be read.
    """
    return catalog_of_rows(read_events(path, file_format), framework=framework)


def catalog_of_rows(rows: Iterable[FileRow], *, framework: str) -> Iterator[CatalogLine]:
    """As `catalog_of_log`, from events already read. What is no event, and events without an item, are ignored."""
    responses: Counter[str] = Counter()
    naming: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        assessment = row.submission.body if isinstance(row, Row) else None
        if not isinstance(assessment, Assessment) or not assessment.item:
            continue
        responses[assessment.item] += 1
        naming[assessment.item].update(assessment.skills)
    for skill in sorted({skill for counts in naming.values() for skill in counts}):
        yield "skill", {"id": skill, "framework": framework, "code": skill, "statement": skill}
    for item in sorted(responses):
        counts = naming[item]
        tags = sorted(counts, key=lambda skill: (-counts[skill], skill))
        yield (
            "resource",
            {
                "id": item,
                "title": f"Problem {item}",
                "kind": "practice",
                "assesses": [{"skill": skill, "weight": counts[skill] / responses[item]} for skill in tags],
                "status": "active",
            },
        )
