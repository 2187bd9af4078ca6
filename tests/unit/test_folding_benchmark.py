"""The benchmark of folding runs."""

from __future__ import annotations

from tests.benchmarks.folding import FoldMeter


def test_the_cost_of_folding_is_measured_without_a_service():
    meter = FoldMeter()
    meter.run()
    costs = meter.costs()
    assert 0 < costs.bulk_us < costs.update_us
