"""What installations need, with figures that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
import typer
from typer.testing import CliRunner

from deploy.sizing import BENCH, Assumptions, Measured, measured, size, sizing

FOUND = Measured(
    publish_cpu_s=0.002,
    statement_cpu_s=0.004,
    gateway_cpu_s=0.001,
    openedx_events_per_s=100,
    fold_cpu_s=0.001,
    redis_cpu_s=0.0001,
    list_cpu_s=0.01,
    replay_cpu_s=0.0005,
    restore_cpu_s=1e-8,
    snapshot_share=0.5,
    log_bytes=500,
    key_bytes=100,
    state_bytes={10: 1_000, 110: 11_000},
    recent_bytes={10: 100, 110: 100},
    statement_bytes=500,
    memory_mb={"worker": 1.0},
)
# A day's events in one hour: 3,600 learners with an event a day are one event a second.
ASSUMED = Assumptions(
    events_per_learner_day=1,
    lists_per_learner_day=0.5,
    peak_hour_share=1,
    years=60 / 365,
    replicas=3,
    utilisation=0.5,
    redis_spare=2,
    redis_gb=1_000,
    statement_share=0,
    statements_kept_days=2,
)


def test_a_number_of_learners_needs_what_their_peak_hour_and_their_log_take():
    found = size(3_600_000, FOUND, ASSUMED)
    assert found.installations == 1
    assert (found.events_per_s, found.lists_per_s) == (1_000, 500)
    assert found.ingest_cores == pytest.approx(1_000 * 0.002 / 0.5)
    assert found.workers == 2
    assert found.server_cores == pytest.approx(500 * 0.01 / 0.5)
    assert found.redis_cores == pytest.approx(0.1)
    # 60 events a learner lie half-way between 10 and 110.
    assert found.redis_bytes == pytest.approx(3_600_000 * (6_000 + 100) * 2)
    assert found.redis_bytes_while_replaying == pytest.approx(3_600_000 * (12_000 + 100) * 2)
    assert found.log_bytes == pytest.approx(3_600_000 * (60 * 500 + 100) * 3)
    assert found.log_bytes_a_year == pytest.approx(3_600_000 * 365 * 500 * 3)
    assert found.rebuild_s == pytest.approx(3_600_000 * 60 * 0.001 / 2)
    assert found.replay_s == pytest.approx(3_600_000 * 60 * 0.0005)
    assert found.restore_s == pytest.approx(3_600_000 * 6_000 * 0.5 * 1e-8)


def test_statements_take_more_of_ingest_and_stay_in_redis_for_a_while():
    found = size(3_600_000, FOUND, replace(ASSUMED, statement_share=0.5))
    assert found.ingest_cores == pytest.approx(1_000 * 0.003 / 0.5)
    # Half an event a learner and day, for two days.
    assert found.redis_statement_bytes == pytest.approx(3_600_000 * 500 * 2)
    assert found.redis_bytes == pytest.approx(3_600_000 * (6_000 + 100 + 500) * 2)
    assert found.redis_bytes_while_replaying == pytest.approx(3_600_000 * (12_000 + 100 + 500) * 2)
    # 36 million learners take 907 GB with them while a second epoch is built, and 871 GB without.
    assert size(36_000_000, FOUND, replace(ASSUMED, redis_gb=900)).installations == 1
    assert size(36_000_000, FOUND, replace(ASSUMED, redis_gb=900, statement_share=0.5)).installations == 2


def test_the_gateway_and_the_readers_of_open_edx_carry_all_that_may_come_through_them():
    found = size(3_600_000, FOUND, ASSUMED)
    assert found.gateway_cores == pytest.approx((1_000 + 500) * 0.001 / 0.5)
    assert found.openedx_readers == 20


def test_learners_beyond_one_redis_are_divided_among_installations():
    whole = size(3_600_000, FOUND, ASSUMED)
    # 36 million learners take 871 GB while a second epoch is built, and a Redis has 100.
    found = size(36_000_000, FOUND, replace(ASSUMED, redis_gb=100))
    assert found.installations == 9
    assert found.redis_bytes == pytest.approx(whole.redis_bytes * 10 / 9)
    assert found.replay_s == pytest.approx(whole.replay_s * 10 / 9)


def test_many_workers_are_limited_by_the_one_core_of_redis():
    found = size(36_000_000, FOUND, replace(ASSUMED, utilisation=0.1))
    assert found.workers == 100
    assert found.rebuild_s == pytest.approx(36_000_000 * 60 * 0.0001)


def test_what_is_remembered_of_repeats_is_sized_by_the_most_that_it_took():
    bench = orjson.loads(BENCH.read_bytes())
    bench["sizes"]["redis_recent_bytes"] = {"10": 5, "100": 50, "1000": 40}
    assert measured(bench).recent_bytes == {10: 5, 100: 50, 1_000: 50}


def test_figures_that_cannot_be_read_end_with_what_to_do(tmp_path):
    app = typer.Typer()
    app.command()(sizing)
    (tmp_path / "bench.json").write_text("{}")
    ended = CliRunner().invoke(app, ["--bench", str(tmp_path / "bench.json")])
    assert ended.exit_code == 2
    assert "make bench JSON=" in ended.output


def test_assumptions_can_be_changed_on_the_command_line():
    app = typer.Typer()
    app.command()(sizing)
    words = ["--learners", "1000", "--events-per-learner-day", "9", "--replicas", "2", "--redis-gb", "64"]
    printed = CliRunner().invoke(app, words)
    assert printed.exit_code == 0, printed.output
    assert "9 events and 2 lists" in printed.output
    assert "2 replicas" in printed.output
    assert "at most 64 GB" in printed.output
    assert "| learners | 1,000 |" in printed.output
