"""Runs the catalog service: `python -m services.catalog`."""

from __future__ import annotations

import asyncio
import sys

from services.common.extras import extra_required

with extra_required("catalog", "python -m services.catalog"):
    from pydantic import ValidationError

    from services.catalog.bootstrap import run
    from services.catalog.settings import CatalogSettings
    from services.common.auth.tenants_file import TenantsFileError
    from services.common.certificates import CertificateFileError
    from services.common.environment import wrong_settings
    from services.common.kafka.connection import BrokerUnavailableError, TopicMissingError
    from services.common.rpc.addresses import ListenAddressError
    from services.common.telemetry import logs


def main() -> int:
    """Run until stopped; 0 after a stop, 1 when it cannot continue, 2 when the settings are wrong."""
    try:
        settings = CatalogSettings()
    except ValidationError as error:
        sys.stderr.write(f"catalog cannot start: {wrong_settings(error)}\n")
        return 2
    logs.configure(settings.log_level, settings.log_format, service="catalog")
    try:
        asyncio.run(run(settings))
    except CertificateFileError as error:
        sys.stderr.write(f"catalog cannot start: {error}\n")
        return 2
    except (BrokerUnavailableError, TopicMissingError, ListenAddressError, TenantsFileError, OSError) as error:
        sys.stderr.write(f"catalog stopped: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
