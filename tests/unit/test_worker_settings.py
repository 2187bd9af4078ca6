"""Settings that a worker refuses."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.recommender.settings import WorkerSettings


def test_a_fail_point_is_refused_unless_fail_points_are_allowed():
    with pytest.raises(ValidationError, match="CAIRN_ALLOW_FAIL_POINTS"):
        WorkerSettings(fail_point="after-commit:kill:1")
    allowed = WorkerSettings(fail_point="after-commit:kill:1", allow_fail_points=True)
    assert allowed.fail_point == "after-commit:kill:1"


def test_without_a_fail_point_there_is_none():
    assert WorkerSettings().fail_point == ""
