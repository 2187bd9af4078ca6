"""Transient errors of Redis make a worker wait; permanent ones make it stop."""

from __future__ import annotations

import pytest
import redis.exceptions

from services.recommender.adapters.redis.connection import unavailable_when_redis_is
from services.recommender.application.ports.learners import StateRefusedError, StateUnavailableError

SCRIPT = "ERR Error running script (call to f_01de97): @user_script:9: @user_script: 9: "


def raised(error: Exception) -> type[Exception]:
    with pytest.raises(StateUnavailableError) as caught, unavailable_when_redis_is():
        raise error
    return type(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.ConnectionError("Connection refused"),
        redis.exceptions.TimeoutError("Timeout"),
        redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        redis.exceptions.ResponseError("OOM command not allowed when used memory > 'maxmemory'."),
        redis.exceptions.ResponseError(SCRIPT + "-OOM command not allowed when used memory > 'maxmemory'."),
        redis.exceptions.ResponseError(SCRIPT + "-MISCONF Redis is configured to save RDB snapshots, but"),
        redis.exceptions.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
        redis.exceptions.ResponseError("LOADING Redis is loading the dataset in memory"),
        redis.exceptions.ReadOnlyError("You can't write against a read only replica."),
        redis.exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."),
        redis.exceptions.ResponseError("NOSCRIPT No matching script. Please use EVAL."),
        OSError("Broken pipe"),
    ],
    ids=str,
)
def test_transient_errors_are_unavailable(error: Exception):
    assert raised(error) is StateUnavailableError


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        redis.exceptions.ResponseError("ERR a learner commit has malformed arguments"),
        redis.exceptions.ResponseError(SCRIPT + "attempt to index a nil value"),
        redis.exceptions.ResponseError("NOAUTH Authentication required."),
    ],
    ids=str,
)
def test_permanent_errors_are_refused(error: Exception):
    assert raised(error) is StateRefusedError
