"""Shifts the clock by CAIRN_TEST_CLOCK_SKEW_S. Put this folder on PYTHONPATH: Python imports the file at startup."""

from __future__ import annotations

import datetime as dt
import os
import time

_SKEW_S = float(os.environ.get("CAIRN_TEST_CLOCK_SKEW_S", "0"))
_time, _time_ns, _datetime = time.time, time.time_ns, dt.datetime


class _AnyDatetime(type):
    def __instancecheck__(cls, instance):
        return isinstance(instance, _datetime)


class _SkewedDatetime(_datetime, metaclass=_AnyDatetime):
    @classmethod
    def now(cls, tz=None):
        return _datetime.now(tz) + dt.timedelta(seconds=_SKEW_S)

    @classmethod
    def utcnow(cls):
        return _datetime.utcnow() + dt.timedelta(seconds=_SKEW_S)


# The monotonic clocks stay unchanged: a wrong date does not make time run backwards.
time.time = lambda: _time() + _SKEW_S
time.time_ns = lambda: _time_ns() + int(_SKEW_S * 1e9)
dt.datetime = _SkewedDatetime
