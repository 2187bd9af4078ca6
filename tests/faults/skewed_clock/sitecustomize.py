"""Shifts the clock by CAIRN_TEST_CLOCK_SKEW_S: a folder for PYTHONPATH, which Python imports at its start."""

from __future__ import annotations

import os
import time

_SKEW_S = float(os.environ.get("CAIRN_TEST_CLOCK_SKEW_S", "0"))
_time, _time_ns = time.time, time.time_ns

# The monotonic clocks stay: a wrong date does not make time run backwards.
time.time = lambda: _time() + _SKEW_S
time.time_ns = lambda: _time_ns() + int(_SKEW_S * 1e9)
