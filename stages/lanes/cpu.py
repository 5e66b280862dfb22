"""A lane on a CPU: what is submitted is computed at once."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from numpy.typing import NDArray

from stages.execution import Execution
from stages.lanes.flight import Arrays, Flight, Function, Timing


class CpuLane:
    """Computes what is submitted at once, in batches that every thread has whole images of."""

    def __init__(self, execution: Execution, function: Function, passes: int) -> None:
        self._execution, self._function, self._passes = execution, function, passes

    def submit(self, *arrays: NDArray[np.generic]) -> Flight:
        """The computed batch."""
        started_s, count = time.perf_counter(), len(arrays[0])
        size = self._whole_images_for_every_thread(count)
        with self._execution.run():
            inputs = [torch.from_numpy(padded(array, size)).permute(0, 3, 1, 2) for array in arrays]
            outputs = self._function(*inputs)
            landed = tuple(output[:count].contiguous().numpy() for output in outputs)
        return _Landed(landed, 1e3 * (time.perf_counter() - started_s))

    def _whole_images_for_every_thread(self, count: int) -> int:
        threads = torch.get_num_threads()
        step = threads // math.gcd(threads, self._passes)
        return -(-count // step) * step


class _Landed:
    """A flight that was over when it began."""

    def __init__(self, arrays: Arrays, compute_ms: float) -> None:
        self._arrays, self._compute_ms = arrays, compute_ms

    def arrived(self) -> bool:
        return True

    def land(self) -> Arrays:
        return self._arrays

    def timing(self) -> Timing:
        return Timing(0.0, self._compute_ms, 0.0)


def padded(array: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    """(B, ...) of any strides -> a copy (size, ...) of its own, the last row repeated."""
    return array[np.minimum(np.arange(size), len(array) - 1)]
