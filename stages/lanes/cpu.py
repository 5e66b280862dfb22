"""A lane on a CPU: what is submitted is computed at once, each image by itself.

The threads share out the images of a batch, not the pixels of an image. What one image needs fits
the processor's caches, where that of a whole batch does not; no thread waits for another after each
of hundreds of small operations; and the score of a frame does not depend on the batch that it came
in. Where there are fewer images than threads, several compute one image together.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from stages.execution import Execution
from stages.lanes.flight import Arrays, Flight, Function, Timing


class CpuLane:
    """Computes what is submitted at once, on as many threads as PyTorch is set to."""

    def __init__(self, execution: Execution, function: Function, passes: int) -> None:
        self._execution, self._function, self._passes = execution, function, passes
        self._pool, self._pooled = ThreadPoolExecutor(1), 1

    def submit(self, *arrays: NDArray[np.generic]) -> Flight:
        """The computed batch."""
        started_s = time.perf_counter()
        count, threads = len(arrays[0]), torch.get_num_threads()
        images = (tuple(array[index : index + 1] for array in arrays) for index in range(count))
        if min(count, threads) == 1:
            outputs = [self._compute(threads, image) for image in images]
        else:
            alone = partial(self._alone, threads // min(count, threads))
            outputs = list(self._workers(threads).map(alone, images))
        landed = tuple(np.concatenate(rows) for rows in zip(*outputs, strict=True))
        return Landed(landed, 1e3 * (time.perf_counter() - started_s))

    def warm_sizes(self, most: int) -> tuple[int, ...]:
        """One image, and a full batch."""
        return alone_and_full(most)

    def _workers(self, threads: int) -> ThreadPoolExecutor:
        """So many threads, which begin when they are needed."""
        if self._pooled != threads:
            self._pool.shutdown()
            self._pool, self._pooled = ThreadPoolExecutor(threads, "cpu-lane"), threads
        return self._pool

    def _alone(self, threads: int, image: Arrays) -> Arrays:
        """In a thread of the pool: the number of threads is each thread's own."""
        torch.set_num_threads(threads)
        return self._compute(threads, image)

    def _compute(self, threads: int, image: Arrays) -> Arrays:
        """The function on a batch of one image (1, ...), on `threads` of the processor."""
        size = self._whole_images_for_every_thread(threads)
        with self._execution.run():
            inputs = [torch.from_numpy(padded(array, size)).permute(0, 3, 1, 2) for array in image]
            outputs = self._function(*inputs)
            return tuple(output[:1].contiguous().numpy() for output in outputs)

    def _whole_images_for_every_thread(self, threads: int) -> int:
        return threads // math.gcd(threads, self._passes)


class Landed:
    """A flight that was over when it began."""

    def __init__(self, arrays: Arrays, compute_ms: float) -> None:
        self._arrays, self._compute_ms = arrays, compute_ms

    def arrived(self) -> bool:
        return True

    def land(self) -> Arrays:
        return self._arrays

    def timing(self) -> Timing:
        return Timing(0.0, self._compute_ms, 0.0)


def alone_and_full(most: int) -> tuple[int, ...]:
    """1 and `most`: a lane that takes any size has nothing to prepare for those between."""
    return tuple(dict.fromkeys((1, most)))


def padded(array: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    """(B, ...) of any strides -> a copy (size, ...) of its own, the last row repeated."""
    return array[np.minimum(np.arange(size), len(array) - 1)]
