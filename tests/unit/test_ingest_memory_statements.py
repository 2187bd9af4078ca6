"""Statements kept in memory, and sealed for elsewhere."""

from dataclasses import replace

import pytest

from services.ingest.adapters import sealed_statements
from services.ingest.adapters.sealed_statements import opened, seal
from tests.adapters.memory_statements import MemoryStatements
from tests.suites.statement_store import HILLTOP, RIVERBEND, STATEMENTS_MAX, StatementStoreSuite, statement


class TestMemoryStatements(StatementStoreSuite):
    @pytest.fixture
    def store(self):
        return MemoryStatements(statements_max=STATEMENTS_MAX)


def test_a_sealed_statement_is_read_under_its_tenant_and_id_only():
    kept = statement(1, voids=statement(2).statement_id, content=b'{"actor": "ada"}' * 20)
    value = seal(RIVERBEND, kept)
    assert opened(RIVERBEND, kept.statement_id, value) == kept
    assert opened(HILLTOP, kept.statement_id, value) is None
    assert opened(replace(HILLTOP, secret=RIVERBEND.secret), kept.statement_id, value) is None
    assert opened(RIVERBEND, statement(2).statement_id, value) is None
    assert opened(RIVERBEND, kept.statement_id, value[:-1] + bytes([value[-1] ^ 1])) is None
    assert opened(RIVERBEND, kept.statement_id, b"") is None


def test_a_sealed_statement_shows_nothing_and_differs_each_time():
    kept = statement(1, content=b"ada@example.com")
    values = {seal(RIVERBEND, kept) for _ in range(2)}
    assert len(values) == 2
    assert not any(b"ada" in value or kept.digest in value for value in values)


def test_large_statements_are_kept_compressed_and_small_ones_as_they_are(monkeypatch):
    large, small = statement(1, content=b'{"actor": "ada"}' * 100), statement(2, content=b'{"actor": "ada"}')
    of_large, of_small = seal(RIVERBEND, large), seal(RIVERBEND, small)
    assert len(of_large) < len(large.content) / 5
    assert opened(RIVERBEND, large.statement_id, of_large) == large
    assert opened(RIVERBEND, small.statement_id, of_small) == small
    # An earlier release compressed all of them.
    monkeypatch.setattr(sealed_statements, "_COMPRESSED_BYTES_MIN", 0)
    assert opened(RIVERBEND, small.statement_id, seal(RIVERBEND, small)) == small
