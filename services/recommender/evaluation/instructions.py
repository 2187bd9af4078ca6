"""The processor instructions that numerical libraries use, in words."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_info


def instructions() -> str:
    """Return the instruction sets of OpenBLAS and numpy that are in use."""
    blas = {str(each.get("architecture")) for each in threadpool_info() if each["user_api"] == "blas"}
    numpy = np.show_config(mode="dicts")["SIMD Extensions"].get("found", ["baseline"])
    return f"BLAS {' '.join(sorted(blas))}; numpy {' '.join(numpy)}"
