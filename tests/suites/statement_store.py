"""Behaviour of everything that keeps statements; run on the in-memory and the Redis adapter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from services.common.auth.tenant import Tenant
from services.ingest.application.statements import KeptStatement, Known

RIVERBEND, HILLTOP = Tenant("riverbend", b"r" * 32), Tenant("hilltop", b"h" * 32)
STATEMENTS_MAX = 5


def statement(number: int, **changes: Any) -> KeptStatement:
    kept = KeptStatement(f"00000000-0000-4000-8000-{number:012}", bytes([number]) * 16, b'{"a": 1}')
    return replace(kept, **changes)


class StatementStoreSuite:
    """Fixture: `store`, which keeps 5 statements of a tenant."""

    async def test_nothing_is_kept_at_first(self, store: Any) -> None:
        assert await store.of(RIVERBEND, [statement(1).statement_id, "x"]) == [Known(), Known()]
        assert await store.of(RIVERBEND, []) == []

    async def test_what_was_added_is_found_by_its_id(self, store: Any) -> None:
        await store.add(RIVERBEND, [statement(1), statement(2, content=b"")])
        (second, first) = await store.of(RIVERBEND, [statement(2).statement_id, statement(1).statement_id])
        assert (first.statement.digest, first.statement.content) == (statement(1).digest, b'{"a": 1}')
        assert (second.statement.statement_id, second.statement.content) == (statement(2).statement_id, b"")
        assert first.voided_by == ""

    async def test_the_first_statement_of_an_id_stays(self, store: Any) -> None:
        await store.add(RIVERBEND, [statement(1)])
        await store.add(RIVERBEND, [statement(1, digest=b"x" * 16)])
        (known,) = await store.of(RIVERBEND, [statement(1).statement_id])
        assert known.statement.digest == statement(1).digest

    async def test_tenants_are_apart(self, store: Any) -> None:
        await store.add(RIVERBEND, [statement(1, voids=statement(2).statement_id)])
        ids = [statement(1).statement_id, statement(2).statement_id]
        assert await store.of(HILLTOP, ids) == [Known(), Known()]

    async def test_what_is_voided_is_known_before_it_comes_and_after(self, store: Any) -> None:
        voiding, target = statement(1, voids=statement(2).statement_id), statement(2)
        await store.add(RIVERBEND, [voiding])
        (before,) = await store.of(RIVERBEND, [target.statement_id])
        await store.add(RIVERBEND, [target])
        (after, itself) = await store.of(RIVERBEND, [target.statement_id, voiding.statement_id])
        assert before == Known(None, voiding.statement_id)
        assert after.voided_by == voiding.statement_id
        assert after.statement.digest == target.digest
        assert (itself.statement.voids, itself.voided_by) == (target.statement_id, "")

    async def test_the_oldest_statements_go_when_there_are_too_many(self, store: Any) -> None:
        for number in range(1, STATEMENTS_MAX + 3):
            await store.add(RIVERBEND, [statement(number)])
        await store.add(HILLTOP, [statement(1)])
        known = await store.of(RIVERBEND, [statement(number).statement_id for number in range(1, STATEMENTS_MAX + 3)])
        assert [each.statement is None for each in known] == [True, True] + [False] * STATEMENTS_MAX

    async def test_every_statement_with_an_erased_learner_goes(self, store: Any) -> None:
        both = statement(3, learners=("A" * 26, "B" * 26))
        await store.add(RIVERBEND, [statement(1, learners=("A" * 26,)), statement(2, learners=("B" * 26,)), both])
        await store.add(HILLTOP, [statement(1, learners=("A" * 26,))])
        await store.forget(RIVERBEND, "A" * 26)
        await store.forget(RIVERBEND, "C" * 26)
        known = await store.of(RIVERBEND, [statement(number).statement_id for number in (1, 2, 3)])
        assert [each.statement is None for each in known] == [True, False, True]
        (other,) = await store.of(HILLTOP, [statement(1).statement_id])
        assert other.statement is not None
