"""Figures over rounds."""

from __future__ import annotations

from benchmarks.spread import Spread, spread


def test_the_spread_is_the_median_and_the_range() -> None:
    assert spread([3.0, 1.0, 8.0]) == Spread(3.0, 1.0, 8.0)


def test_a_spread_reads_as_median_and_range() -> None:
    assert Spread(0.863, 0.859, 0.9).text() == "0.86 (0.86 to 0.90)"
    assert Spread(20.04, 19.0, 21.0).text(1) == "20.0 (19.0 to 21.0)"
    assert Spread(2.5e12, 2e12, 3e12).text(1, 1e-12) == "2.5 (2.0 to 3.0)"
