"""The losses of DiffusionAD, equations (9) to (11). All means, all float32."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

FOCAL_WEIGHT = 5.0
FOCAL_EXPONENT = 2.0


@dataclass(frozen=True)
class Losses:
    """The parts of (11), each a scalar tensor; `total` is what is minimised."""

    noise: torch.Tensor
    mask: torch.Tensor

    @property
    def total(self) -> torch.Tensor:
        """Equation (11)."""
        return self.noise + self.mask


def noise_loss(
    eps_small: torch.Tensor,
    eps_small_hat: torch.Tensor,
    eps_big: torch.Tensor,
    eps_big_hat: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """(9): the mean squared error of both noise scales over normal samples only.

    eps: (B, C, H, W); labels y: (B,), 1 for anomalous. 0 where a batch has no normal sample.
    """
    small = (eps_small - eps_small_hat).square().mean(dim=(1, 2, 3))
    big = (eps_big - eps_big_hat).square().mean(dim=(1, 2, 3))
    normal = 1.0 - labels
    return (normal * (small + big) / 2.0).sum() / normal.sum().clamp(min=1.0)


def focal_loss(
    logits: torch.Tensor, mask: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean of (1 - p)^2 (-log p), p the probability of the true class; all (B, 1, H, W).

    Stable for logits of any size: -log p is taken from the logits, not from a probability.
    """
    minus_log_p = functional.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    wrong = -torch.expm1(-minus_log_p)
    return _mean(wrong**FOCAL_EXPONENT * minus_log_p, weights)


def mask_loss(
    logits: torch.Tensor, mask: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """(10): SmoothL1(M, M_hat) + 5 focal(M, M_hat), with M_hat = sigmoid(logits).

    `weights` (B, 1, H, W), not in the paper, say how much each pixel counts.
    """
    smooth = functional.smooth_l1_loss(torch.sigmoid(logits), mask, reduction="none")
    return _mean(smooth, weights) + FOCAL_WEIGHT * focal_loss(logits, mask, weights)


def _mean(values: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    return (values if weights is None else values * weights).mean()
