"""Nonces: no two are the same, whoever draws them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from services.common.encryption.nonces import NONCE_BYTES, new_nonce


def drawn(count):
    return [new_nonce() for _ in range(count)]


def test_no_two_threads_draw_the_same_nonce():
    with ThreadPoolExecutor(8) as threads:
        nonces = [nonce for some in threads.map(drawn, [2_000] * 8) for nonce in some]
    assert len(set(nonces)) == len(nonces) == 16_000
    assert {len(nonce) for nonce in nonces} == {NONCE_BYTES}


def test_a_child_process_draws_none_of_its_parents_nonces():
    drawn(1)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, b"".join(drawn(200)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        sent = pipe.read()
    os.waitpid(child, 0)
    of_child = {sent[begin : begin + NONCE_BYTES] for begin in range(0, len(sent), NONCE_BYTES)}
    assert len(of_child) == 200
    assert of_child.isdisjoint(drawn(200))
