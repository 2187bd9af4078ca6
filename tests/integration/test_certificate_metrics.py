"""Every process reports when the certificates that it presents expire."""

from __future__ import annotations

import sys
import urllib.request

import pytest
from cryptography import x509

from deploy.kafka.certificates import Authority
from deploy.processes import LOOPBACK, Child, Command, free_port
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES

PROCESSES = {
    "ingest": ("services.ingest",),
    "catalog": ("services.catalog",),
    "server": ("services.recommender", "server"),
    "worker": ("services.recommender", "worker"),
    "lag": ("services.recommender", "lag"),
}
# Only these have a gRPC server with TLS; the worker's answers health checks alone.
WITH_TLS = {"ingest", "catalog", "server"}


def metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=10) as reply:
            return reply.read().decode()
    except OSError:
        return ""


@pytest.mark.slow
@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_reports_when_the_certificates_that_it_presents_expire(process, kafka_broker, redis_server, tmp_path):
    tenants, port = tmp_path / "tenants.yaml", free_port()
    create_api_key(tenants, "riverbend", "test", ALL_SCOPES)
    certificate, key = Authority(tmp_path / "authority").sign(process)
    expires = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()
    environment = {
        "CAIRN_KAFKA": kafka_broker.bootstrap_servers,
        "CAIRN_KAFKA_FETCH_WAIT_MS": str(kafka_broker.fetch_wait_ms),
        "CAIRN_REDIS": redis_server,
        "CAIRN_TENANTS": str(tenants),
        "CAIRN_BUNDLES": str(tmp_path / "bundles"),
        "CAIRN_METRICS_PORT": str(port),
    }
    if process in WITH_TLS:
        setting = "CAIRN_TLS_CERTIFICATE"
        environment |= {setting: str(certificate), "CAIRN_TLS_KEY": str(key)}
    else:
        # The broker here has no TLS, but the file is read before it is reached.
        setting = "CAIRN_KAFKA_CERTIFICATE"
        environment |= {"CAIRN_KAFKA_SECURITY": "tls", setting: str(certificate), "CAIRN_KAFKA_KEY": str(key)}
    command = Command(process, [sys.executable, "-m", *PROCESSES[process]], tmp_path / "log", environment)
    child = Child(command)
    try:
        child.wait_ready(lambda: "cairn_certificate_expires" in metrics(port), 60.0)
        shown = [line for line in metrics(port).splitlines() if line.startswith("cairn_certificate_expires")]
        assert [(line.split()[0], float(line.split()[1])) for line in shown] == [
            (f'cairn_certificate_expires_timestamp_seconds{{setting="{setting}"}}', expires)
        ]
    finally:
        child.stop()
