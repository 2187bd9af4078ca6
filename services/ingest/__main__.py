"""Runs the ingest service: `python -m services.ingest`."""

from __future__ import annotations

import asyncio
import sys

from services.common.extras import extra_required

with extra_required("ingest", "python -m services.ingest"):
    from pydantic import ValidationError

    from services.common.auth.tenants_file import TenantsFileError
    from services.common.certificates import CertificateFileError
    from services.common.encryption.values import KeysMissingError
    from services.common.environment import wrong_settings
    from services.common.kafka.compacted import TopicChangedError
    from services.common.kafka.connection import BrokerUnavailableError, TopicMissingError
    from services.common.rpc.addresses import ListenAddressError
    from services.common.telemetry import logs
    from services.ingest.adapters.kafka.log import LogRecreatedError
    from services.ingest.adapters.redis_recent_events import RecentEventsUrlError
    from services.ingest.bootstrap import run
    from services.ingest.settings import IngestSettings


def main() -> int:
    """Run until stopped; 0 after a stop, 1 when it cannot continue, 2 when the settings are wrong."""
    try:
        settings = IngestSettings()
    except ValidationError as error:
        sys.stderr.write(f"ingest cannot start: {wrong_settings(error)}\n")
        return 2
    logs.configure(settings.log_level, settings.log_format, service="ingest")
    try:
        asyncio.run(run(settings))
    except (CertificateFileError, RecentEventsUrlError) as error:
        sys.stderr.write(f"ingest cannot start: {error}\n")
        return 2
    except (
        BrokerUnavailableError,
        KeysMissingError,
        TopicChangedError,
        TopicMissingError,
        LogRecreatedError,
        ListenAddressError,
        TenantsFileError,
        OSError,
    ) as error:
        sys.stderr.write(f"ingest stopped: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
