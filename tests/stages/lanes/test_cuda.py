"""The lane of a GPU: overlapping batches come back right, in order, and keep their results."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.execution import Execution
from stages.lanes.cuda import SLOTS, CudaLane, graph_size

on_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device; see docs/gpu-checklist.md"
)
ROW = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("rows", "size"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8), (9, 16), (32, 32), (33, 64)]
)
def test_a_batch_is_padded_up_to_a_power_of_two(rows, size):
    assert graph_size(rows) == size


def doubled(images: Tensor) -> tuple[Tensor]:
    return ((images.float() * 2).permute(0, 2, 3, 1).contiguous(),)


def batches(*counts: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (count, *ROW.shape), dtype=np.uint8) for count in counts]


@on_gpu
@pytest.mark.parametrize("capturable", [True, False])
def test_many_batches_in_flight_come_back_as_they_were_sent(capturable):
    lane = CudaLane(Execution("cuda:0", "float32"), doubled, [ROW], capturable)
    sent = batches(*([3, 8, 1, 5] * (SLOTS + 1)))

    flights = [lane.submit(images) for images in sent]  # more than there are slots

    for images, flight in zip(sent, flights, strict=True):
        np.testing.assert_array_equal(flight.land()[0], 2.0 * images)


@on_gpu
def test_results_outlive_their_slot():
    lane = CudaLane(Execution("cuda:0", "float32"), doubled, [ROW], capturable=True)
    first, *others = batches(*([4] * (2 * SLOTS)))
    landed = lane.submit(first).land()[0]
    for images in others:
        lane.submit(images).land()
    np.testing.assert_array_equal(landed, 2.0 * first)


@on_gpu
def test_arrays_may_change_after_they_were_submitted():
    lane = CudaLane(Execution("cuda:0", "float32"), doubled, [ROW], capturable=True)
    (images,) = batches(4)
    expected = 2.0 * images
    flight = lane.submit(images)
    images[:] = 0
    np.testing.assert_array_equal(flight.land()[0], expected)


@on_gpu
def test_the_legs_of_a_batch_are_timed():
    lane = CudaLane(Execution("cuda:0", "float32"), doubled, [ROW], capturable=True)
    flight = lane.submit(batches(4)[0])
    flight.land()
    assert flight.arrived()
    assert all(leg_ms >= 0.0 for leg_ms in flight.timing())
    assert flight.timing().compute_ms > 0.0
