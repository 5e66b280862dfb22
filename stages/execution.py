"""How both engines run their network: device, precision, and memory layout.

On a CPU, PyTorch's group norm splits the pixels of a batch evenly among its threads and adds up
what each found. A score would then depend, in its last digits, on the batch that its frame came in
and on the number of threads. Where each image is added up by one thread, it is always in the same
order: `stages.lanes.cpu` sees to that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.errors import InputError
from stages.device import OPENVINO, Precision, choose_device, compute_dtype
from stages.packing import ConvRelu, can_pack, pack

_CAST_BY_AUTOCAST = (nn.Conv2d, ConvRelu, nn.ConvTranspose2d, nn.Linear)


class Execution:
    """One device with its precision; every network runs inside `run()`, but those of OpenVINO."""

    def __init__(self, device: str = "auto", precision: Precision = "auto") -> None:
        self.device = choose_device(device)
        self.dtype = compute_dtype(self.device, precision)
        self.openvino = device == OPENVINO
        if self.device.type == "cuda":
            _compute_reproducibly()

    @property
    def computes_in(self) -> str:
        """What a calibration calls the way to compute: `bfloat16` where PyTorch computes on a CPU,
        `cuda-bfloat16`, `openvino-bfloat16`, ...
        """
        precision = str(self.dtype).removeprefix("torch.")
        if self.openvino:
            return f"{OPENVINO}-{precision}"
        return precision if self.device.type == "cpu" else f"{self.device.type}-{precision}"

    def place(self, network: nn.Module) -> None:
        """Moves a network to the device in evaluation mode, in the layout convolutions prefer.

        Weights are rounded to the precision here, as autocast would before every single pass. On a
        CPU the convolutions are packed (`stages.packing`): the network is good for nothing else.
        """
        network.eval().requires_grad_(False).to(self.device)
        if self.openvino:  # which has its own layout, and rounds by itself
            return
        for module in network.modules():
            if type(module) in _CAST_BY_AUTOCAST:  # not a subclass that keeps to float32
                module.to(self.dtype)
        for weight in network.parameters():
            if weight.ndim == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        if self.device.type == "cpu" and can_pack(self.dtype):
            pack(network)

    @contextmanager
    def run(self) -> Iterator[None]:
        """Everything inside computes without gradients, in the device's precision."""
        autocast = torch.autocast(
            self.device.type,
            torch.bfloat16,
            enabled=self.dtype == torch.bfloat16,
            cache_enabled=False,  # a cached copy must not become part of a CUDA graph
        )
        with torch.inference_mode(), autocast:
            yield


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


def _compute_reproducibly() -> None:
    """float32 means float32, and no algorithm is chosen by how fast it happened to be this time."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
