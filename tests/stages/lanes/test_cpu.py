"""The lane of a CPU: results in order, batches that every thread has whole images of."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.execution import Execution
from stages.lanes.cpu import CpuLane, padded


class Doubling:
    """Twice the input and the mean of each row; remembers the batch sizes it was called with."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.sizes.append(len(images))
        doubled = images.float() * 2
        return doubled.permute(0, 2, 3, 1), doubled.mean(dim=(1, 2, 3))


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def batch(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 4, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_batch_is_computed_when_it_is_submitted(count):
    images = batch(count)

    flight = CpuLane(Execution("cpu", "float32"), Doubling(), passes=1).submit(images)

    assert flight.arrived()
    doubled, means = flight.land()
    np.testing.assert_array_equal(doubled, 2.0 * images)
    np.testing.assert_allclose(means, 2.0 * images.mean(axis=(1, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize(("count", "passes"), [(1, 1), (3, 1), (3, 2), (4, 2), (5, 4)])
def test_every_thread_gets_whole_images(threads, count, passes):
    threads(4)
    function = Doubling()

    CpuLane(Execution("cpu", "float32"), function, passes).submit(batch(count))

    (size,) = function.sizes
    assert size * passes % 4 == 0
    assert count <= size < count + 4 // math.gcd(4, passes)


def test_what_is_landed_does_not_change_with_the_input():
    images = batch(2)
    flight = CpuLane(Execution("cpu", "float32"), Doubling(), passes=1).submit(images)
    expected = 2.0 * images
    images[:] = 0
    np.testing.assert_array_equal(flight.land()[0], expected)


def test_time_goes_into_computing_alone():
    flight = CpuLane(Execution("cpu", "float32"), Doubling(), passes=1).submit(batch(2))
    upload_ms, compute_ms, download_ms = flight.timing()
    assert (upload_ms, download_ms) == (0.0, 0.0)
    assert compute_ms > 0.0


def test_padding_repeats_the_last_row_in_memory_of_its_own():
    rows = np.arange(6, dtype=np.uint8).reshape(3, 2)[::-1]
    rows.flags.writeable = False

    out = padded(rows, 5)

    assert out.tolist() == [[4, 5], [2, 3], [0, 1], [0, 1], [0, 1]]
    assert out.flags.writeable
    assert not np.shares_memory(padded(rows, 3), rows)
