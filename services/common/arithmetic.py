"""One set of processor instructions for numerical libraries, so that results do not depend on the machine.

OpenBLAS and numpy choose among implementations by what the processor can do. These add up in different orders and round
differently, so the last digits differ. Where a choice is close, such as that of a ranker's blend, the digits decide it,
and a figure differs in the second place.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

# Every x86-64 processor for servers and laptops since 2013 (Intel Haswell) or 2015 (AMD Excavator) has these.
_NEEDED = frozenset({"avx2", "fma"})
_FIXED = {
    "OPENBLAS_CORETYPE": "Haswell",
    # Everything beyond AVX2 in numpy, by the names of releases before and since 2.4; it ignores those it does not know.
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL X86_V4 AVX512_ICL AVX512_SPR",
}
_CPU_INFO = Path("/proc/cpuinfo")


def fix_instructions(
    environment: MutableMapping[str, str] = os.environ,
    *,
    loaded: Mapping[str, object] = sys.modules,
    cpu_info: Path = _CPU_INFO,
) -> bool:
    """Make numerical libraries use the same instructions on every x86-64 processor that has AVX2.

    Settings in the environment are replaced: they would change results. Has no effect on libraries that are loaded.

    Args:
        environment: receives the settings.
        loaded: the modules of this process.
        cpu_info: describes the processor, as Linux does.

    Returns:
        Whether it had an effect: not if numpy is loaded, nor on another system or an older processor.
    """
    if "numpy" in loaded or not _features(cpu_info) >= _NEEDED:
        return False
    environment.update(_FIXED)
    return True


def _features(cpu_info: Path) -> frozenset[str]:
    """Return the features of the first processor; none where they are not known."""
    try:
        lines = cpu_info.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())
