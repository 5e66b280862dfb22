"""Latencies in buckets, as good as the exact percentiles to 2 %; the GPUs of this machine."""

from __future__ import annotations

import logging
import mmap
from pathlib import Path

import numpy as np
import pynvml
import pytest

from pipeline.telemetry import GpuWatch, LatencyHistogram, gpu_text, read_gpus, resident_mb

HAS_DRIVER = Path("/dev/nvidia0").exists()
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
    with mmap.mmap(-1, 50_000_000) as fresh:  # an array might reuse what earlier tests left
        np.frombuffer(fresh, np.uint8)[...] = 1
        assert resident_mb() - before == pytest.approx(50, abs=10)


@pytest.mark.skipif(HAS_DRIVER, reason="this machine has a driver")
def test_without_a_driver_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(pynvml.NVMLError_LibraryNotFound):
        pynvml.nvmlInit()
    watch = GpuWatch("auto", log=logging.getLogger("supervisor"))
    for now_s in (0.0, 100.0, 200.0):
        assert watch.readings(now_s) == ()
        watch.wait(60.0)
    assert [(r.name, r.getMessage()) for r in caplog.records] == [
        ("supervisor", "no figures of GPUs: the driver: NVML Shared Library Not Found")
    ]
    assert read_gpus() == []


@pytest.mark.skipif(not HAS_DRIVER, reason="needs an NVIDIA driver; see docs/gpu-checklist.md")
def test_a_real_gpu_is_read() -> None:
    gpus = read_gpus()
    assert gpus
    for number, gpu in enumerate(gpus):
        print(gpu_text(gpu))
        assert gpu.index == number
        assert gpu.name
        assert gpu.use_percent is None or 0 <= gpu.use_percent <= 100
        assert gpu.memory_mb is not None
        assert gpu.memory_total_mb is not None
        assert 0 < gpu.memory_mb < gpu.memory_total_mb
        assert gpu.temperature_c is None or 0 < gpu.temperature_c < 120
        assert gpu.power_w is None or 0 < gpu.power_w < 2000
        assert gpu.power_limit_w is None or 0 < gpu.power_limit_w < 2000
        assert gpu.sm_clock_mhz is None or 0 < gpu.sm_clock_mhz < 10_000
    watch = GpuWatch("cuda:0")
    watch.readings(0.0)
    watch.wait(60.0)
    assert watch.readings(0.0)
