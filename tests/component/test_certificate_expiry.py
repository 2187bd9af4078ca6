"""The expiry of certificates is reported as it is for the certificates in use."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from prometheus_client import REGISTRY

from deploy.kafka.certificates import Authority
from services.common.telemetry.certificates import report_expiry

DAY_S = 24 * 3_600


def reported(setting: str) -> float | None:
    return REGISTRY.get_sample_value("cairn_certificate_expires_timestamp_seconds", {"setting": setting})


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority")


def test_the_chain_expires_with_the_first_of_its_certificates(tmp_path, authority, monkeypatch):
    monkeypatch.setattr("deploy.kafka.certificates._DAYS", 3)
    leaf = authority.sign("server").certificate
    chain = tmp_path / "chain.pem"
    # The authority's own certificate was made to last for 30 days.
    chain.write_bytes(authority.certificate.read_bytes() + leaf.read_bytes())
    report_expiry("CHAIN", chain)
    assert reported("CHAIN") == x509.load_pem_x509_certificate(leaf.read_bytes()).not_valid_after_utc.timestamp()
    assert reported("CHAIN") == pytest.approx((datetime.now(UTC) + timedelta(days=3)).timestamp(), abs=DAY_S)


def test_a_renewed_file_counts_only_where_it_is_read_again(tmp_path, authority, monkeypatch):
    file = tmp_path / "server.pem"
    shutil.copy(authority.sign("old").certificate, file)
    report_expiry("KEPT", file)
    report_expiry("RENEWED", file, read_again=True)
    old = reported("KEPT")
    assert reported("RENEWED") == old
    monkeypatch.setattr("deploy.kafka.certificates._DAYS", 60)
    shutil.copy(authority.sign("new").certificate, file)
    assert reported("KEPT") == old
    assert reported("RENEWED") == pytest.approx(old + 30 * DAY_S, abs=60)
    # One that is being replaced, and cannot be read, changes nothing.
    file.write_text("-----BEGIN")
    assert reported("RENEWED") == pytest.approx(old + 30 * DAY_S, abs=60)
    file.unlink()
    assert reported("RENEWED") == pytest.approx(old + 30 * DAY_S, abs=60)


def test_without_a_certificate_nothing_is_reported():
    report_expiry("NONE", None, read_again=True)
    assert reported("NONE") is None
