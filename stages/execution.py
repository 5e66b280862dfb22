"""How both engines run their network: precision, memory layout, and the way to the device.

On a GPU the copies go through pinned memory on a stream of their own; on a CPU nothing is copied.

On a CPU, PyTorch's group norm splits the pixels of a batch evenly among its threads and adds up
what each found. A score would then depend, in its last digits, on the batch that its frame came in
and on the number of threads. Where a batch has a multiple of as many images, each image is added up
by one thread, always in the same order: `upload` makes every batch so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import InputError
from stages.device import Precision, choose_device, compute_dtype


class Execution:
    """One device with its precision; every array passes `upload` and `download` inside `run()`."""

    def __init__(self, device: str = "auto", precision: Precision = "auto") -> None:
        self.device = choose_device(device)
        self.dtype = compute_dtype(self.device, precision)
        self.stream: torch.cuda.Stream | None = None
        if self.device.type == "cuda":
            self.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]  # torch's own

    def place(self, network: nn.Module) -> None:
        """Moves a network to the device in evaluation mode, in the layout convolutions prefer."""
        network.eval().requires_grad_(False).to(self.device)
        for weight in network.parameters():
            if weight.ndim == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    @contextmanager
    def run(self) -> Iterator[None]:
        """Everything inside computes without gradients, in the device's precision and stream."""
        autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16
        )
        stream = torch.cuda.stream(self.stream) if self.stream else nullcontext()
        with torch.inference_mode(), autocast, stream:
            if self.stream is not None:  # what was placed on the device before must have arrived
                self.stream.wait_stream(torch.cuda.default_stream(self.device))
            yield

    def upload(self, array: NDArray[np.generic], passes: int) -> Tensor:
        """(B, H, W, C) uint8 or float16 array -> (>= B, C, H, W) tensor of its type on the device.

        The last image is repeated until every thread has whole images; `passes` is how many times
        the network sees each image in one batch.
        """
        step = self._threads() // math.gcd(self._threads(), passes)
        padded = array[np.minimum(np.arange(-(-len(array) // step) * step), len(array) - 1)]
        tensor = torch.from_numpy(padded).permute(0, 3, 1, 2)
        if self.stream is None:
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def _threads(self) -> int:
        return torch.get_num_threads() if self.device.type == "cpu" else 1

    def download(self, tensor: Tensor) -> NDArray[np.generic]:
        """A tensor as an array of its type; waits until the device has computed it."""
        if self.stream is None:
            array: NDArray[np.generic] = tensor.contiguous().numpy()
            return array
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        self.stream.synchronize()
        return host.numpy()


def check_batch(
    array: NDArray[np.generic],
    dtype: type[np.generic],
    shape: tuple[int, int, int],
    length: int | None = None,
) -> None:
    """Raises InputError unless `array` is (B >= 1, *shape) of `dtype`; `shape` is (H, W, C).

    `length` asks for that B.
    """
    fits = array.ndim == 4 and array.shape[1:] == shape and array.dtype == dtype
    if not fits or len(array) < 1 or (length is not None and len(array) != length):
        raise InputError(
            f"the networks take a batch ({length or 'B'}, {', '.join(map(str, shape))}) of "
            f"{np.dtype(dtype).name}, not {array.shape} of {array.dtype}: prepare the images with "
            f"the preprocessing of the model bundle"
        )
