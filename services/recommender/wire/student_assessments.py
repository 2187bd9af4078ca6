"""Mastery as the resource StudentAssessment of the Ed-Fi Data Standard, versions 5 and 6.

A learner's mastery is one assessment, and each skill one of its objective assessments. Sent again, it replaces what was
sent before: it has the same identifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from services.recommender.application.operations.export import Row

ASSESSMENT = "cairn-mastery"
STUDENT_CHARACTERS_MAX = 32
NAMESPACE_CHARACTERS_MAX = 200
SKILL_CHARACTERS_MAX = 60

_REPORTING_METHOD = "uri://ed-fi.org/AssessmentReportingMethodDescriptor"
_DATATYPE = "uri://ed-fi.org/ResultDatatypeTypeDescriptor"


@dataclass(frozen=True, slots=True)
class StudentAssessments:
    """How a district's Ed-Fi system names them.

    Attributes:
        namespace: of the assessment and of descriptors that Ed-Fi does not define, such as `uri://district.example`.
        school_year: the year in which the school year ends; None: not stated, which version 6 does not take.
    """

    namespace: str
    school_year: int | None = None

    def of(self, rows: Sequence[Row]) -> list[Row]:
        """The resources of learners; a learner's rows stand one after the other, and their skills' ids fit."""
        return [self._resource(learner, list(skills)) for learner, skills in groupby(rows, lambda row: row["learner"])]

    def _resource(self, learner: str, skills: Sequence[Row]) -> dict[str, Any]:
        year = "" if self.school_year is None else f"{self.school_year}-"
        last = max((row["last_response_at"] for row in skills if row["last_response_at"] is not None), default=None)
        return {
            "studentAssessmentIdentifier": f"mastery-{year}{learner}",
            "assessmentReference": self._assessment,
            "studentReference": {"studentUniqueId": learner},
            **({"schoolYearTypeReference": {"schoolYear": self.school_year}} if year else {}),
            **_administered(last),
            "studentObjectiveAssessments": [self._objective(row) for row in skills],
        }

    @property
    def _assessment(self) -> dict[str, str]:
        return {"assessmentIdentifier": ASSESSMENT, "namespace": self.namespace}

    def _objective(self, row: Row) -> dict[str, Any]:
        interval = f"{row['mastery_low']:.4f}-{row['mastery_high']:.4f}"
        level = "Mastered" if row["mastered"] else "Not yet mastered"
        return {
            "objectiveAssessmentReference": self._assessment | {"identificationCode": row["skill"]},
            **_administered(row["last_response_at"]),
            "scoreResults": [
                self._score("Chance of success", "Decimal", f"{row['mastery']:.4f}"),
                self._score("Chance of success, 95 % interval", "Range", interval),
                self._score("Responses", "Integer", str(row["responses"])),
            ],
            "performanceLevels": [
                {
                    "assessmentReportingMethodDescriptor": f"{_REPORTING_METHOD}#Mastery level",
                    "performanceLevelDescriptor": f"{self.namespace}/PerformanceLevelDescriptor#{level}",
                }
            ],
        }

    def _score(self, method: str, datatype: str, result: str) -> dict[str, str]:
        return {
            "assessmentReportingMethodDescriptor": f"{self.namespace}/AssessmentReportingMethodDescriptor#{method}",
            "resultDatatypeTypeDescriptor": f"{_DATATYPE}#{datatype}",
            "result": result,
        }


def _administered(at: datetime | None) -> dict[str, str]:
    """When it was; nothing where that is not known."""
    return {} if at is None else {"administrationDate": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
