"""What an inspection costs: time on this machine, and operations anywhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from evaluation.compare import device_name
from evaluation.reference import EagerReference
from stages.bundle import Bundle
from stages.execution import Execution
from stages.inspector import Inspector
from stages.reconstruction.paradigms import PARADIGMS


@dataclass(frozen=True)
class Speed:
    """Images per second at the median batch, and what a batch takes."""

    images_per_second: float
    batch_ms_p50: float
    batch_ms_p99: float


def measure_speeds(
    inspectors: Mapping[str, Inspector], images: NDArray[np.uint8], repeats: int
) -> dict[str, Speed]:
    """`images` (B, H, W, C) uint8 through each inspector `repeats` times.

    They take turns, so that a machine whose speed drifts is fair to all.
    """
    for inspector in inspectors.values():
        inspector.warm_up([len(images)])
    seconds: dict[str, list[float]] = {name: [] for name in inspectors}
    for _ in range(repeats):
        for name, inspector in inspectors.items():
            started_s = time.perf_counter()
            inspector.inspect(images)
            seconds[name].append(time.perf_counter() - started_s)
    return {name: _speed(len(images), taken) for name, taken in seconds.items()}


def count_parameters(bundle: Bundle) -> int:
    """Parameters of both networks."""
    return sum(weight.numel() for net in bundle.networks() for weight in net.parameters())


def count_operations(bundle: Bundle) -> int:
    """Floating point operations of one inspection by the bundle's own paradigm.

    A multiplication with its addition is two; norms and activations are not counted.
    """
    manifest = bundle.manifest
    image = np.zeros((*manifest.image_size_px, manifest.channels), np.uint8)
    # The engines' packed convolutions are none that the counter knows, the reference's are.
    reference = EagerReference(bundle, "cpu", PARADIGMS[manifest.paradigm])
    # Attention as matrix products: the counter does not know the fused one of a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        reference.inspect(image)
    return int(counter.get_total_flops())


def machine_content(device: str) -> dict[str, Any]:
    """Device, its name, the type that it computes in and PyTorch's version, for JSON."""
    execution = Execution(device)
    return {
        "device": str(execution.device),
        "device_name": device_name(execution.device),
        "dtype": execution.computes_in,
        "torch": str(torch.__version__),
    }


def machine_text(machine: Mapping[str, Any]) -> str:
    """The same in a line for people."""
    return (
        f"{machine['device']}: {machine['device_name']}, {machine['dtype']}, "
        f"torch {machine['torch']}"
    )


def _speed(batch: int, seconds: list[float]) -> Speed:
    p50, p99 = (float(np.percentile(seconds, share)) for share in (50, 99))
    return Speed(batch / p50, 1e3 * p50, 1e3 * p99)
