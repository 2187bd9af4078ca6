"""Runs a recommender process: `python -m services.recommender server`, `worker`, or `lag`, the lag exporter."""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any

from services.common.extras import extra_required

# The lag exporter needs what a server needs.
_EXTRA = "worker" if sys.argv[1:] == ["worker"] else "recommender"

with extra_required(_EXTRA, "python -m services.recommender"):
    from pydantic import ValidationError

    from services.common.auth.tenants_file import TenantsFileError
    from services.common.certificates import CertificateFileError
    from services.common.encryption.values import TenantKeyMissingError
    from services.common.environment import wrong_settings
    from services.common.kafka.connection import BrokerUnavailableError, TopicMissingError
    from services.common.rpc.addresses import ListenAddressError
    from services.common.settings import ProcessSettings
    from services.common.telemetry import logs
    from services.recommender.adapters.fail_points import FailPointInvalidError
    from services.recommender.adapters.files.bundle_store import BundlesUrlInvalidError
    from services.recommender.application.ports.epochs import EpochsLostError
    from services.recommender.application.ports.learners import CommitRefusedError, StateRefusedError
    from services.recommender.application.ports.log import LogTruncatedError
    from services.recommender.application.ports.models import BundleUnreadableError
    from services.recommender.application.ports.served_parameters import ServedParametersUnknownError
    from services.recommender.application.ports.state_store import EvictingStoreError, StateUrlInvalidError
    from services.recommender.application.state.epochs import EpochUnusableError
    from services.recommender.settings import LagSettings, RecommenderServerSettings, WorkerSettings

_Process = tuple[type[ProcessSettings], str, str]

# Settings, module and function of each process. A module is loaded only for its own process: each is large.
_PROCESSES: dict[str, _Process] = {
    "server": (RecommenderServerSettings, "services.recommender.bootstrap.server", "run_server"),
    "worker": (WorkerSettings, "services.recommender.bootstrap.worker", "run_worker"),
    "lag": (LagSettings, "services.recommender.bootstrap.lag", "run_lag_exporter"),
}

_BAD_INPUT = (BundlesUrlInvalidError, CertificateFileError, FailPointInvalidError, StateUrlInvalidError)

_CANNOT_GO_ON = (
    BrokerUnavailableError,
    BundleUnreadableError,
    CommitRefusedError,
    EpochUnusableError,
    ServedParametersUnknownError,
    EpochsLostError,
    EvictingStoreError,
    StateRefusedError,
    ListenAddressError,
    LogTruncatedError,
    TenantKeyMissingError,
    TenantsFileError,
    TopicMissingError,
    OSError,
)


def main(arguments: list[str]) -> int:
    """Run until stopped. Returns 0 after a stop, 1 after an error, 2 when arguments or settings are wrong."""
    if len(arguments) != 1 or arguments[0] not in _PROCESSES:
        sys.stderr.write(f"usage: python -m services.recommender {'|'.join(_PROCESSES)}\n")
        return 2
    process = arguments[0]
    settings_type, module, function = _PROCESSES[process]
    try:
        settings = settings_type()
    except ValidationError as error:
        sys.stderr.write(f"recommender {process} cannot start: {wrong_settings(error)}\n")
        return 2
    logs.configure(settings.log_level, settings.log_format, service=f"recommender-{process}")
    with extra_required(_EXTRA, f"python -m services.recommender {process}"):
        run: Any = getattr(importlib.import_module(module), function)
    try:
        asyncio.run(run(settings))
    except _BAD_INPUT as error:
        sys.stderr.write(f"recommender {process} cannot start: {error}\n")
        return 2
    except _CANNOT_GO_ON as error:
        sys.stderr.write(f"recommender {process} stopped: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
