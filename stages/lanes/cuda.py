"""A lane on a GPU: copy in, compute and copy back at the same time, each batch size a CUDA graph.

For every batch size (a power of two; a batch is padded up to the next) the function is captured
once and replayed from then on, so that launching its hundreds of kernels costs the CPU one call. A
function that cannot be captured is called instead; everything else stays the same. A capture waits
for the whole device, so a stage has all of them made before its first part (`warm_sizes`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import DeviceError
from stages.execution import Execution
from stages.lanes.flight import Arrays, Flight, Function, Timing

LOG = logging.getLogger(__name__)
SLOTS = 3
"""Batches on their way at a time: one copied in, one computed, one copied back."""
WARM_UPS = 3
"""Calls before the capture: the first ones load kernels and plan convolutions."""


class CudaLane:
    """Runs a function on batches with their copies hidden behind its computing."""

    def __init__(
        self,
        execution: Execution,
        function: Function,
        rows: Sequence[NDArray[np.generic]],
        capturable: bool,
    ) -> None:
        self._execution, self._function = execution, function
        self._rows, self._capturable = tuple(rows), capturable
        self._streams = _Streams(execution.device)
        self._memory = torch.cuda.graph_pool_handle()
        self._programs: dict[int, _Program] = {}

    def submit(self, *arrays: NDArray[np.generic]) -> Flight:
        """Starts a batch; its arrays may be changed as soon as this returns. Raises DeviceError."""
        with _device_faults(), torch.cuda.device(self._execution.device):
            return self._program(graph_size(len(arrays[0]))).start(arrays)

    def warm_sizes(self, most: int) -> tuple[int, ...]:
        """Every size that batches of up to `most` are padded to, the largest first: the graphs of
        the smaller ones then fit into its memory.
        """
        return graph_sizes(most)[::-1]

    def _program(self, size: int) -> _Program:
        if size not in self._programs:
            inputs = [_device_rows(row, size, self._execution.device) for row in self._rows]
            call = _Call(self._execution, self._function, inputs)
            if self._capturable:  # what could not be captured once is not tried again
                self._capturable = call.capture(self._streams.compute, self._memory)
            self._programs[size] = _Program(call, self._streams)
        return self._programs[size]


class _Streams:
    """Three queues of one device, each in order, all at the same time."""

    def __init__(self, device: torch.device) -> None:
        self.upload, self.compute, self.download = (
            torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own
            for _ in range(3)
        )
        for stream in (self.upload, self.compute, self.download):
            stream.wait_stream(torch.cuda.default_stream(device))  # weights and noise have arrived


class _Call:
    """The function on inputs that stay in one place, called or replayed."""

    possible: ClassVar[bool] = True
    """Whether a graph may be made in this process: a capture that fails may leave PyTorch's
    allocator within it, where every other one would fail, too."""

    def __init__(self, execution: Execution, function: Function, inputs: Sequence[Tensor]) -> None:
        self.inputs = tuple(inputs)
        self._execution, self._function = execution, function
        self._views = tuple(rows.permute(0, 3, 1, 2) for rows in inputs)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._outputs: tuple[Tensor, ...] = ()

    def capture(self, stream: torch.cuda.Stream, memory: Any) -> bool:
        """Make a graph of the function, in memory that graphs replayed one by one may share.

        Where that fails, be it for an operation that no graph may hold or for want of memory, the
        function is called instead, and the log says so; false. What waits for the device is found
        out before. A device that has failed fails in that call again.
        """
        with self._execution.run(), torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._function(*self._views)
            if not _Call.possible:
                return False
            try:
                with _waiting_refused():
                    self._function(*self._views)
            except RuntimeError as error:
                self._say_called(error)
                return False
            try:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=memory, stream=stream):
                    self._outputs = self._function(*self._views)
            except RuntimeError as error:  # an AcceleratorError and an OutOfMemoryError are such
                self._say_called(error)
                self._outputs = ()
                _Call.possible = False
                return False
        self._graph = graph
        return True

    def _say_called(self, error: RuntimeError) -> None:
        size = len(self._views[0])
        LOG.warning("no CUDA graph for batches of %d, called instead: %s", size, error)

    def __call__(self) -> tuple[Tensor, ...]:
        """Queue the function on the present stream; its outputs, until the next call."""
        if self._graph is None:
            with self._execution.run():
                return self._function(*self._views)
        self._graph.replay()
        return self._outputs


class _Program:
    """The function for one batch size, with the slots that its batches travel in."""

    def __init__(self, call: _Call, streams: _Streams) -> None:
        self._call, self._streams = call, streams
        with torch.inference_mode(), torch.cuda.stream(streams.compute):
            outputs = call()
        streams.compute.synchronize()
        self._slots = cycle([_Slot(call.inputs, outputs) for _ in range(SLOTS)])

    def start(self, arrays: Sequence[NDArray[np.generic]]) -> Flight:
        """A batch on its way, in the slot that was used longest ago."""
        slot, streams = next(self._slots), self._streams
        slot.clear()
        slot.load(arrays)
        with torch.inference_mode():
            with slot.upload.on(streams.upload):
                _copy(slot.host_in, slot.device_in)
            streams.compute.wait_event(slot.upload.end)
            with slot.compute.on(streams.compute):
                _copy(slot.device_in, self._call.inputs)
                _copy(self._call(), slot.device_out)
            streams.download.wait_event(slot.compute.end)
            with slot.download.on(streams.download):
                _copy(slot.device_out, slot.host_out)
        slot.flight = _CudaFlight(slot, len(arrays[0]))
        return slot.flight


class _Leg:
    """One of the three things that happen to a batch, between two events of a stream."""

    def __init__(self) -> None:
        self._start = _event()
        self.end = _event()

    @contextmanager
    def on(self, stream: torch.cuda.Stream) -> Iterator[None]:
        """What is queued inside is queued there, and timed."""
        with torch.cuda.stream(stream):
            self._start.record(stream)
            yield
            self.end.record(stream)

    def ms(self) -> float:
        """How long it took, once it is over."""
        return float(self._start.elapsed_time(self.end))


class _Slot:
    """Buffers of one batch on both sides, and how far it is."""

    def __init__(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        with torch.inference_mode():
            self.device_in = [_like(tensor, tensor.device) for tensor in inputs]
            self.device_out = [_like(tensor, tensor.device) for tensor in outputs]
            self.host_in = [_like(tensor) for tensor in inputs]
            self.host_out = [_like(tensor) for tensor in outputs]
        self.upload, self.compute, self.download = _Leg(), _Leg(), _Leg()
        self.flight: _CudaFlight | None = None

    def clear(self) -> None:
        """Make room: a batch that has not landed yet takes its results out of the buffers."""
        if self.flight is not None:
            self.flight.land()
            self.flight = None

    def load(self, arrays: Sequence[NDArray[np.generic]]) -> None:
        """Copy a batch into the pinned memory, its last row repeated up to the batch size."""
        for host, array in zip(self.host_in, arrays, strict=True):
            buffer = host.numpy()
            buffer[: len(array)] = array
            buffer[len(array) :] = array[-1]


class _CudaFlight:
    """A batch in a slot, until it lands."""

    def __init__(self, slot: _Slot, rows: int) -> None:
        self._slot, self._rows = slot, rows
        self._landed: tuple[Arrays, Timing] | None = None

    def arrived(self) -> bool:
        with _device_faults():
            return self._landed is not None or bool(self._slot.download.end.query())

    def land(self) -> Arrays:
        return self._finished()[0]

    def timing(self) -> Timing:
        return self._finished()[1]

    def _finished(self) -> tuple[Arrays, Timing]:
        """Results and times, taken out of the slot once, which then serves the next batch."""
        if self._landed is None:
            slot = self._slot
            with _device_faults():
                slot.download.end.synchronize()
                timing = Timing(slot.upload.ms(), slot.compute.ms(), slot.download.ms())
            arrays = tuple(host.numpy()[: self._rows].copy() for host in slot.host_out)
            self._landed = arrays, timing
        return self._landed


@contextmanager
def _waiting_refused() -> Iterator[None]:
    """Inside, PyTorch raises RuntimeError where the CPU would wait for the device."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def _device_faults() -> Iterator[None]:
    """A fault of the device, which every later call would report again, as a DeviceError."""
    try:
        yield
    except torch.AcceleratorError as error:
        raise DeviceError(
            f"the GPU has failed: {error}. The parts on it are lost; see `nvidia-smi` and the "
            "kernel's log if it goes on failing after a restart"
        ) from error


def graph_size(rows: int) -> int:
    """The batch size that a batch of so many rows is padded up to: a power of two."""
    assert rows >= 1
    return 1 << (rows - 1).bit_length()


def graph_sizes(most: int) -> tuple[int, ...]:
    """1, 2, 4 and so on: every size that a batch of up to `most` rows may be padded up to."""
    return tuple(1 << power for power in range(graph_size(most).bit_length()))


def _event() -> Any:
    """An event with a time, which nobody waits for by spinning; PyTorch gives it no types."""
    return torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]


def _copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source, non_blocking=True)


def _device_rows(row: NDArray[np.generic], size: int, device: torch.device) -> Tensor:
    """Zeros (size, H, W, C) of the row's type."""
    with torch.inference_mode():
        return torch.from_numpy(np.zeros((size, *row.shape), row.dtype)).to(device)


def _like(tensor: Tensor, device: torch.device | None = None) -> Tensor:
    """Contiguous memory for such a tensor on its device, else pinned on the host."""
    if device is not None:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
