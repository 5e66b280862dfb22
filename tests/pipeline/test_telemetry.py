"""Latencies in buckets: as good as the exact percentiles to 2 %, and storable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.telemetry import GpuWatch, LatencyHistogram, read_gpus, resident_mb

GENERATOR = np.random.default_rng(20261122)
SAMPLES = {
    "log-normal": GENERATOR.lognormal(4, 0.8, 5000),
    "even": GENERATOR.uniform(1, 2000, 5000),
    "two humps": np.concatenate([GENERATOR.normal(40, 2, 4000), GENERATOR.normal(900, 30, 1000)]),
    "microseconds": GENERATOR.uniform(0.02, 0.5, 2000),
    "one": np.array([123.4]),
    "all the same": np.full(100, 77.7),
}


def histogram(samples: np.ndarray) -> LatencyHistogram:
    counted = LatencyHistogram()
    for sample in samples:
        counted.add(float(sample))
    return counted


@pytest.mark.parametrize("name", SAMPLES)
def test_percentiles_are_numpys_within_two_percent(name: str) -> None:
    found = histogram(SAMPLES[name]).percentiles()
    shares = (0.5, 0.9, 0.99)
    exact = np.quantile(SAMPLES[name], shares, method="inverted_cdf")
    np.testing.assert_allclose([found.p50, found.p90, found.p99], exact, rtol=0.02)


def test_percentiles_of_nothing_are_zero() -> None:
    assert LatencyHistogram().percentile(0.5) == 0.0
    assert LatencyHistogram().counts() == ()


def test_what_is_stored_goes_on_as_if_never_interrupted() -> None:
    samples = SAMPLES["two humps"]
    at_once = histogram(samples)
    resumed = LatencyHistogram(histogram(samples[:1234]).counts())
    for sample in samples[1234:]:
        resumed.add(float(sample))
    assert resumed.counts() == at_once.counts()
    assert resumed.percentiles() == at_once.percentiles()


def test_counts_are_exact_and_in_order() -> None:
    counts = histogram(SAMPLES["even"]).counts()
    assert sum(count for _, count in counts) == 5000
    assert list(counts) == sorted(counts)


def test_latencies_out_of_range_stay_in_the_outermost_buckets() -> None:
    assert histogram(np.array([0.0, -5.0, 1e-9])).percentile(0.99) == pytest.approx(0.01, rel=0.02)
    assert histogram(np.array([1e12])).percentile(0.5) == pytest.approx(1e6, rel=0.04)


def test_resident_memory_is_that_of_this_process() -> None:
    before = resident_mb()
    block = np.ones(50_000_000, np.uint8)
    assert resident_mb() - before == pytest.approx(50, abs=10)
    assert block.all()


def test_gpus_are_read_where_there_are_any() -> None:
    gpus = read_gpus()
    assert bool(gpus) == Path("/dev/nvidia0").exists()
    for gpu in gpus:
        assert gpu.name
        assert 0 <= gpu.use_percent <= 100
        assert gpu.memory_mb > 0
        assert 0 < gpu.temperature_c < 120
        assert gpu.power_w > 0


def test_gpus_are_looked_at_now_and_then() -> None:
    watch = GpuWatch(period_s=2.0)
    first = watch.readings(10.0)
    assert [gpu.name for gpu in first] == [gpu.name for gpu in read_gpus()]
    assert watch.readings(11.9) is first
    assert len(watch.readings(12.1)) == len(first)
