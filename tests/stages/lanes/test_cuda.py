"""The lane of a GPU: overlapping batches come back right, in order, and keep their results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.errors import DeviceError
from stages.execution import Execution
from stages.lanes import cuda
from stages.lanes.cuda import SLOTS, CudaLane, graph_size, graph_sizes

on_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device; see docs/gpu-checklist.md"
)
ROW = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("rows", "size"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8), (9, 16), (32, 32), (33, 64)]
)
def test_a_batch_is_padded_up_to_a_power_of_two(rows, size):
    assert graph_size(rows) == size


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, (1,)), (2, (1, 2)), (8, (1, 2, 4, 8)), (20, (1, 2, 4, 8, 16, 32))]
)
def test_there_is_a_graph_for_every_size_that_a_batch_is_padded_to(most, sizes):
    assert graph_sizes(most) == sizes
    assert {graph_size(rows) for rows in range(1, most + 1)} == set(sizes)


class Refusing:
    """In place of torch.cuda.graph: what is called inside cannot be captured."""

    def __init__(self, error: Exception) -> None:
        self.error, self.tried = error, 0

    @contextmanager
    def __call__(self, _graph: object, **_settings: object) -> Iterator[None]:
        self.tried += 1
        yield
        raise self.error


class CalledProgram:
    """In place of a program with slots: the call alone."""

    def __init__(self, call: Any, _streams: object) -> None:
        self._call = call

    def start(self, _arrays: object) -> tuple[Tensor, ...]:
        return self._call()


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What a lane asks of a GPU before it captures anything, answered without one."""
    monkeypatch.setattr(torch.cuda, "device", lambda _device: nullcontext())
    monkeypatch.setattr(torch.cuda, "stream", lambda _stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda _mode: None)
    monkeypatch.setattr(cuda._Call, "possible", True)
    monkeypatch.setattr(cuda, "_Streams", lambda _device: SimpleNamespace(compute=None))
    monkeypatch.setattr(cuda, "_Program", CalledProgram)
    return monkeypatch


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("operation not permitted when stream is capturing"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_what_cannot_be_captured_is_called_and_not_captured_again(
    no_gpu: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
):
    refusing = Refusing(error)
    no_gpu.setattr(torch.cuda, "graph", refusing)
    lane = CudaLane(Execution("cpu", "float32"), doubled, [ROW], capturable=True)
    for images in batches(*lane.warm_sizes(3), 3):
        (output,) = lane.submit(images)
        assert len(output) == graph_size(len(images))
    assert refusing.tried == 1
    (record,) = caplog.records
    assert record.getMessage() == f"no CUDA graph for batches of 4, called instead: {error}"


def test_after_a_capture_that_failed_no_other_lane_tries_one(no_gpu: pytest.MonkeyPatch):
    refusing = Refusing(torch.OutOfMemoryError("CUDA out of memory"))
    no_gpu.setattr(torch.cuda, "graph", refusing)
    for _ in range(2):
        lane = CudaLane(Execution("cpu", "float32"), doubled, [ROW], capturable=True)
        lane.submit(batches(1)[0])
    assert refusing.tried == 1


def test_what_waits_for_the_device_is_found_out_before_any_capture(
    no_gpu: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    modes, refusing = [0], Refusing(AssertionError("not to be captured"))
    no_gpu.setattr(torch.cuda, "graph", refusing)
    no_gpu.setattr(torch.cuda, "get_sync_debug_mode", lambda: modes[-1])
    no_gpu.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def waiting(images: Tensor) -> tuple[Tensor]:
        if modes[-1] == "error":
            raise RuntimeError("called a synchronizing CUDA operation")
        return doubled(images)

    lane = CudaLane(Execution("cpu", "float32"), waiting, [ROW], capturable=True)
    assert len(lane.submit(batches(2)[0])) == 1
    assert (refusing.tried, modes) == (0, [0, "error", 0])
    assert "called a synchronizing CUDA operation" in caplog.text
    assert cuda._Call.possible, "other functions may have graphs"


def test_a_device_that_has_failed_is_not_taken_for_a_function_without_a_graph(
    no_gpu: pytest.MonkeyPatch,
):
    error = torch.AcceleratorError("unspecified launch failure")

    def failing(_images: Tensor) -> tuple[Tensor]:
        raise error

    no_gpu.setattr(torch.cuda, "graph", Refusing(error))
    lane = CudaLane(Execution("cpu", "float32"), failing, [ROW], capturable=True)
    with pytest.raises(DeviceError, match="the GPU has failed"):
        lane.submit(batches(1)[0])


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


@on_gpu
def test_a_function_that_waits_for_the_device_is_called_instead():
    def waiting(images: Tensor) -> tuple[Tensor]:
        return (images.float() * float(images.float().max() > -1),)

    lane = CudaLane(Execution("cuda:0", "float32"), waiting, [ROW], capturable=True)
    sent = batches(*([2, 4] * SLOTS))
    flights = [lane.submit(images) for images in sent]
    for images, flight in zip(sent, flights, strict=True):
        np.testing.assert_array_equal(flight.land()[0], images.transpose(0, 3, 1, 2))
