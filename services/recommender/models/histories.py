"""A learner's history as the rows of a collaborative model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def known_rows(row_of_resource: Mapping[str, int], history: Sequence[str]) -> NDArray[np.intp]:
    """Rows of the resources of a history that a model knows, in its order."""
    found = map(row_of_resource.get, history)
    return np.array([row for row in found if row is not None], np.intp)
