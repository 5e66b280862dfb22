"""What a training step reports, and when it may not be taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from pipeline.errors import TrainingError


class Phase(StrEnum):
    """What learns: the U-Net alone, both networks, the segmentation network alone."""

    RECONSTRUCTION = "reconstruction"
    JOINT = "joint"
    SEGMENTATION = "segmentation"


@dataclass(frozen=True)
class StepReport:
    """What one step did: its number from 1, the parts of (11), gradient norm, learning rate.

    A part of (11) that the step did not learn from is None. The step took `step_s` seconds, and
    waited `painting_s` of them for its images.
    """

    step: int
    phase: Phase
    noise_loss: float | None
    mask_loss: float | None
    gradient_norm: float
    learning_rate: float
    painting_s: float
    step_s: float


def refuse_non_finite(step: int, found: Mapping[str, float], learning_rate: float) -> None:
    """Raises TrainingError that names which of the losses and the gradient norm is not finite."""
    broken = [name for name, value in found.items() if not math.isfinite(value)]
    if broken:
        values = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        raise TrainingError(
            f"step {step} is not taken, not finite: {' and '.join(broken)} "
            f"({values}). Lower the learning rate (now {learning_rate:.2g}) or take damaged images "
            "out, then start again without --resume"
        )


def refuse_broken_weights(step: int, weights: Mapping[str, Tensor]) -> None:
    """Raises TrainingError that names a weight which is not finite after a step."""
    for name, tensor in weights.items():
        if not bool(tensor.isfinite().all()):
            raise TrainingError(
                f"after step {step} {name} is not finite, and is not kept. Lower the learning "
                "rate, then start again without --resume"
            )
