"""The stores that processes and commands share, chosen by URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.common.redis_pool import SCHEMES, shown
from services.recommender.adapters.files.bundle_store import FsspecBundleStore
from services.recommender.adapters.redis.state_store import RedisStateStore
from services.recommender.application.ports.state_store import StateStore, StateUrlInvalidError
from services.recommender.models.collaborative import als, neighbours
from services.recommender.models.ranker.stored import ranker_from_arrays

# By the scheme of the URL.
_STATE_STORES: Mapping[str, Callable[[str, float | None], StateStore]] = dict.fromkeys(SCHEMES, RedisStateStore)


def state_store(url: str, timeout_s: float | None = None) -> StateStore:
    """The state store at a URL; the URL's scheme decides which kind it is.

    Args:
        url: the value of CAIRN_REDIS.
        timeout_s: how long a read of learners or epochs may take; None: no limit.

    Raises:
        StateUrlInvalidError: when no kind of store has the scheme, or it cannot use the URL.
    """
    make = _STATE_STORES.get(url.partition("://")[0]) if "://" in url else None
    if make is None:
        known = ", ".join(f"{name}://" for name in _STATE_STORES)
        raise StateUrlInvalidError(
            f"CAIRN_REDIS={shown(url)!r} is not the URL of a state store: begin it with one of {known}"
        )
    try:
        return make(url, timeout_s)
    except ValueError as error:
        raise StateUrlInvalidError(
            f"CAIRN_REDIS={shown(url)!r} is not the URL of a state store: {error}; docs/security.md shows URLs"
        ) from error


def bundle_store(url: str) -> FsspecBundleStore:
    """The store of bundles at a URL, with every kind of model this program knows.

    Raises:
        BundlesUrlInvalidError: when fsspec does not know the URL.
    """
    return FsspecBundleStore(
        url,
        {als.KIND: als.AlsModel.from_arrays, neighbours.KIND: neighbours.ItemItemModel.from_arrays},
        ranker_from_arrays,
    )
