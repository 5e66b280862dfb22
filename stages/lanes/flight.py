"""What a lane is: one function of tensors on one device, run on batch after batch.

A batch is submitted, and landed when its result is wanted. On a CPU it is computed at once. On a
GPU three streams work at the same time: while one batch computes, the next is copied to the device
and the one before it back, through pinned buffers that are used again and again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Arrays = tuple[NDArray[Any], ...]
Function = Callable[..., tuple[Tensor, ...]]
"""Tensors (B, C, H, W) on the device in, tensors (B, ...) out; every row depends on its own row of
the input alone, and nothing in it waits for the device."""


class Timing(NamedTuple):
    """Where the time of one batch went, in milliseconds; 0 where nothing is copied."""

    upload_ms: float
    compute_ms: float
    download_ms: float


class Flight(Protocol):
    """A batch on its way."""

    def arrived(self) -> bool:
        """Whether `land` would return at once."""
        ...

    def land(self) -> Arrays:
        """The results, each (B, ...); waits for the device."""
        ...

    def timing(self) -> Timing:
        """Where its time went; waits for the device."""
        ...


class Lane(Protocol):
    """One network function on one device."""

    def submit(self, *arrays: NDArray[np.generic]) -> Flight:
        """Batches (B, H, W, C) of equal length on their way through the function."""
        ...

    def warm_sizes(self, most: int) -> tuple[int, ...]:
        """Sizes of batches to run once before the first part, where none is larger than `most`."""
        ...
