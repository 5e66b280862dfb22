from __future__ import annotations

import mmap
import time

import numpy as np
import pytest
import torch

from benchmarks.hardware import (
    GpuWork,
    Interval,
    MatrixProduct,
    covered,
    gpu_work,
    peak_memory_mb,
    work_of,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("intervals", "length"),
    [
        ([], 0.0),
        ([(1.0, 3.0)], 2.0),
        ([(5.0, 6.0), (1.0, 3.0)], 3.0),
        ([(1.0, 4.0), (2.0, 3.0)], 3.0),
        ([(1.0, 3.0), (2.0, 5.0), (5.0, 6.0)], 5.0),
    ],
)
def test_what_overlaps_counts_once(intervals: list[Interval], length: float) -> None:
    assert covered(intervals) == length


def test_the_work_of_a_gpu_is_shared_among_its_batches() -> None:
    kernels = [(0.0, 4.0), (3.0, 6.0), (8.0, 10.0)]
    copies = [(5.0, 7.0), (9.0, 10.0)]  # 2 of their 3 ms while it computes
    work = work_of(copies, kernels, batches=2)
    assert work == GpuWork(copy_ms=1.5, compute_ms=4.0, busy_ms=4.5, hidden=pytest.approx(2 / 3))
    assert work.idle(wall_ms=6.0) == pytest.approx(0.25)
    assert work.idle(wall_ms=4.0) == 0.0
    assert work_of([], kernels, batches=1).hidden == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_peak_counts_what_a_product_costs(dtype: torch.dtype) -> None:
    product = MatrixProduct(CPU, dtype, side=128)
    product.peak(1)
    started_s = time.perf_counter()
    peak = product.peak(4)
    elapsed_s = time.perf_counter() - started_s
    assert peak >= 4 * 2 * 128**3 / elapsed_s  # the fastest is not slower than all together
    assert MatrixProduct(CPU, dtype).side == 2048


def test_on_a_cpu_the_memory_is_that_of_the_process() -> None:
    with mmap.mmap(-1, 50_000_000) as fresh:  # an array might reuse what earlier tests left
        before = peak_memory_mb(CPU, lambda: None)
        after = peak_memory_mb(CPU, lambda: np.frombuffer(fresh, np.uint8).fill(1))
        assert after - before == pytest.approx(50, abs=10)


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device; see docs/gpu-checklist.md"
)
def test_a_gpu_is_traced() -> None:
    device = torch.device("cuda:0")
    product = MatrixProduct(device, torch.bfloat16, side=4096)
    product.peak(2)
    host = torch.empty(64_000_000, dtype=torch.uint8, pin_memory=True)
    work = gpu_work(lambda: (host.to(device, non_blocking=True), product.peak(1)), batches=1)
    assert work is not None
    assert 0 < work.copy_ms < 100
    assert 0 < work.compute_ms <= work.busy_ms <= work.copy_ms + work.compute_ms + 1e-6
    assert peak_memory_mb(device, lambda: product.peak(1)) >= 3 * 2 * 4096**2 / 1e6
