"""Runs the reader of Open edX's event bus: `python -m services.ingest.openedx`.

It reads one cluster, the one of Open edX, and is a client of the ingest service, whose key says which tenant it is for.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import aclosing

from services.common.extras import extra_required

with extra_required("openedx", "python -m services.ingest.openedx"):
    from pydantic import ValidationError

    from services.common.certificates import CertificateFileError
    from services.common.environment import wrong_settings
    from services.common.kafka.connection import BrokerUnavailableError, TopicMissingError
    from services.common.kafka.faust_app import run_app
    from services.common.process import run_until_stopped
    from services.common.rpc.addresses import is_loopback
    from services.common.secrets import SecretError, read_secret
    from services.common.telemetry import logs
    from services.common.telemetry.certificates import report_expiry
    from services.common.telemetry.http import serve_http
    from services.ingest.adapters.grpc_publisher import grpc_publisher
    from services.ingest.adapters.kafka.message_letters import KafkaMessageLetters
    from services.ingest.application.ports import FileRow, PublisherUnavailableError
    from services.ingest.application.take_message import Message, TakeMessage
    from services.ingest.entrypoints.message_agent import MessageApp, check_topics
    from services.ingest.formats.openedx.bus import rows_of_message
    from services.ingest.settings import OpenEdxSettings


_PATIENCE_S = 60.0


async def run(settings: OpenEdxSettings) -> None:
    """Read until stopped.

    Raises:
        BrokerUnavailableError: when Kafka cannot be reached.
        TopicMissingError: when a topic does not exist.
        PublisherUnavailableError: when ingest does not take events.
        SecretError: when the API key cannot be read.
        OSError: when the metrics port is taken.
    """
    connection, target = settings.connection, settings.target_ingest
    api_key = read_secret("CAIRN_OPENEDX_API_KEY_FILE", settings.openedx_api_key_file)
    topics = [topic.strip() for topic in settings.openedx_topics.split(",")]
    assigned = asyncio.Event()
    report_expiry("CAIRN_KAFKA_CERTIFICATE", settings.kafka_certificate)
    if settings.metrics_port:
        serve_http("openedx", settings.metrics_port, settings.metrics_host, assigned.is_set)

    def read(message: Message) -> Iterator[FileRow]:
        return rows_of_message(dict(message.headers), message.value, settings.openedx_source, message.offset)

    tls = not (is_loopback(target) or settings.openedx_insecure)
    async with (
        aclosing(KafkaMessageLetters(connection, settings.openedx_dead_letters)) as letters,
        grpc_publisher(target, api_key, tls=tls, patience_s=_PATIENCE_S) as publisher,
    ):
        await check_topics(connection, [*topics, settings.openedx_dead_letters])
        app = MessageApp(
            connection,
            TakeMessage(read, publisher, letters),
            topics=topics,
            group=settings.openedx_group,
            assigned=assigned.set,
        )
        await run_until_stopped([run_app(app)])


def main() -> int:
    """Run until stopped; 0 after a stop, 1 when it cannot continue, 2 when the settings are wrong."""
    try:
        settings = OpenEdxSettings()
    except ValidationError as error:
        sys.stderr.write(f"openedx cannot start: {wrong_settings(error)}\n")
        return 2
    logs.configure(settings.log_level, settings.log_format, service="openedx")
    try:
        asyncio.run(run(settings))
    except (CertificateFileError, SecretError) as error:
        sys.stderr.write(f"openedx cannot start: {error}\n")
        return 2
    except (BrokerUnavailableError, TopicMissingError, PublisherUnavailableError, OSError) as error:
        sys.stderr.write(f"openedx stopped: {error}; no message was skipped\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
