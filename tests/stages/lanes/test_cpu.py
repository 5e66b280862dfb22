"""The lane of a CPU: results in order, each image by itself, shared out among the threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.execution import Execution
from stages.lanes.cpu import CpuLane, padded


class Doubling:
    """Twice the input and the mean of each row; remembers each call's batch size and threads."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: list[int] = []

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.sizes.append(len(images))
        self.threads.append(torch.get_num_threads())
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


@pytest.mark.parametrize(
    ("count", "passes", "on", "size"),
    [(1, 1, 4, 4), (1, 2, 4, 2), (2, 1, 2, 2), (2, 2, 2, 1), (3, 1, 1, 1), (9, 2, 1, 1)],
)
def test_each_image_is_computed_by_itself_and_every_thread_has_whole_ones(
    threads, count, passes, on, size
):
    """On `on` of 4 threads, as a batch of `size` where one image would be cut up."""
    threads(4)
    function = Doubling()

    CpuLane(Execution("cpu", "float32"), function, passes).submit(batch(count))

    assert function.sizes == [size] * count
    assert function.threads == [on] * count
    assert torch.get_num_threads() == 4


def test_the_images_of_a_batch_are_computed_at_the_same_time(threads):
    threads(3)
    together = threading.Barrier(3, timeout=60)

    def meet(images: Tensor) -> tuple[Tensor]:
        together.wait()
        return (images.float(),)

    images = batch(6)
    (landed,) = CpuLane(Execution("cpu", "float32"), meet, passes=1).submit(images).land()
    np.testing.assert_array_equal(landed, images.transpose(0, 3, 1, 2))


def test_a_fault_in_one_image_is_raised(threads):
    threads(2)

    def fail(images: Tensor) -> tuple[Tensor]:
        raise ArithmeticError("this image")

    lane = CpuLane(Execution("cpu", "float32"), fail, passes=1)
    with pytest.raises(ArithmeticError, match="this image"):
        lane.submit(batch(3))


def test_batches_of_changing_size_come_out_in_order(threads):
    threads(3)
    lane = CpuLane(Execution("cpu", "float32"), Doubling(), passes=1)
    for count in (2, 7, 1, 3):
        images = batch(count)
        np.testing.assert_array_equal(lane.submit(images).land()[0], 2.0 * images)


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


def test_a_lane_that_takes_any_size_is_warmed_up_with_one_image_and_a_full_batch():
    lane = CpuLane(Execution("cpu", "float32"), Doubling(), passes=1)
    assert (lane.warm_sizes(8), lane.warm_sizes(1)) == ((1, 8), (1,))
