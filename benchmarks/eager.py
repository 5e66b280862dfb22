"""The evaluation as the DiffusionAD paper runs it, written plainly: what the engine is measured by.

Nothing here makes anything fast: float32, PyTorch's default memory layout, one image at a time, and
the two noise scales in two passes of the U-Net, one after the other. Noise and equations are those
of the bundle, so that what comes out is the engine's own result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.reference import EagerReference
from stages.bundle import Bundle
from stages.inspector import Inspection
from stages.reconstruction.diffusion import predict_x_0, q_sample
from stages.reconstruction.paradigms import DiffusionSettings, Model, Noise, norm_guided_estimate
from stages.reconstruction.schedule import Schedule

TOLERANCES = {"float32": 2e-4, "bfloat16": 2e-2}
"""By the engine's type, how far it may be from this on average (`Disagreement`)."""


class EagerEvaluation:
    """Norm-guided inspection by the bundle's networks, whatever paradigm the bundle is made for."""

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        self._reference = EagerReference(bundle, device, norm_guided_in_two_passes, threads=None)

    def inspect(self, images: NDArray[np.uint8]) -> Inspection:
        """(B, H, W, C) uint8 of the bundle's size -> what `Inspector` gives, image by image."""
        found = [self._reference.inspect(image) for image in images]
        return Inspection(
            np.array([one.score for one in found], np.float32),
            np.stack([one.anomaly_map for one in found]),
            np.stack([one.reconstruction for one in found]),
        )


def norm_guided_in_two_passes(
    model: Model, schedule: Schedule, x_0: Tensor, noise: Noise, settings: DiffusionSettings
) -> Tensor:
    """The norm-guided estimate (8): a pass of the U-Net for each noise scale, as published."""
    x_fine, alpha_bar_ts = _estimate(model, schedule, x_0, noise[0], settings.t_small)
    x_coarse, _ = _estimate(model, schedule, x_0, noise[1], settings.t_big)
    return norm_guided_estimate(x_fine, x_coarse, alpha_bar_ts, settings.w)


def _estimate(
    model: Model, schedule: Schedule, x_0: Tensor, noise: Tensor, step: int
) -> tuple[Tensor, Tensor]:
    """The one-step estimate (6) from `step`, and alpha_bar there."""
    t = torch.full((len(x_0),), step, dtype=torch.int64, device=x_0.device)
    alpha_bar_t = schedule.alpha_bar(t)
    x_t = q_sample(x_0, noise, alpha_bar_t)
    return predict_x_0(x_t, model(x_t, t), alpha_bar_t), alpha_bar_t


@dataclass(frozen=True)
class Disagreement:
    """Mean absolute differences; reconstructions lie in [-1, 1], the others in [0, 1]."""

    score: float
    anomaly_map: float
    reconstruction: float

    @property
    def largest(self) -> float:
        """Of the three; NaN where one is."""
        return float(np.max([self.score, self.anomaly_map, self.reconstruction]))


def disagreement(found: Inspection, reference: Inspection) -> Disagreement:
    """How far two inspections of the same images are from each other."""
    return Disagreement(
        _mean_difference(found.scores, reference.scores),
        _mean_difference(found.anomaly_maps, reference.anomaly_maps),
        _mean_difference(found.reconstructions, reference.reconstructions),
    )


def _mean_difference(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).mean())
