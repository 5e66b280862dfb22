"""Noise schedules: how much of the image is left at each time step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

ScheduleName = Literal["linear", "cosine"]

DEFAULT_STEPS = 1000
DEFAULT_BETA_END = 2e-2
BETA_START = 1e-4
COSINE_OFFSET = 0.008
COSINE_BETA_LIMIT = 0.999


@dataclass(frozen=True)
class Schedule:
    """`betas` and `alpha_bars`: (T,) float32, computed in float64; `alpha_bars` falls strictly."""

    betas: Tensor
    alpha_bars: Tensor

    @property
    def steps(self) -> int:
        """T, the number of time steps; a time step t lies in [0, T)."""
        return self.betas.shape[0]

    def beta(self, t: Tensor) -> Tensor:
        """`beta_t` for (B,) int64 time steps, as (B, 1, 1, 1) to go with images."""
        return self.betas[t][:, None, None, None]

    def alpha_bar(self, t: Tensor) -> Tensor:
        """`alpha_bar_t` for (B,) int64 time steps, as (B, 1, 1, 1); 1 (no noise) for t = -1."""
        known = self.alpha_bars[t.clamp(min=0)]
        return torch.where(t < 0, torch.ones_like(known), known)[:, None, None, None]

    def to(self, device: torch.device) -> Schedule:
        """The same schedule with its tensors on `device`."""
        return Schedule(self.betas.to(device), self.alpha_bars.to(device))


def make_schedule(
    name: str = "linear", beta_end: float = DEFAULT_BETA_END, steps: int = DEFAULT_STEPS
) -> Schedule:
    """The schedule `linear` (beta from 1e-4 to `beta_end`) or `cosine` (which has no end value).

    Raises ValueError for an unknown name, for `beta_end` outside (1e-4, 1) or fewer than 2 steps.
    """
    if steps < 2:
        raise ValueError(f"a schedule needs at least 2 steps, not {steps}")
    if name not in SCHEDULES:
        raise ValueError(f"unknown noise schedule {name!r}: choose one of {sorted(SCHEDULES)}")
    betas = SCHEDULES[name](steps, beta_end)
    alpha_bars = torch.cumprod(1 - betas, dim=0)
    return Schedule(betas.to(torch.float32), alpha_bars.to(torch.float32))


def linear_betas(steps: int, beta_end: float) -> Tensor:
    """(T,) float64, evenly spaced from 1e-4 to `beta_end` (Ho et al., 2020)."""
    if not BETA_START < beta_end < 1:
        raise ValueError(f"beta_end must lie in ({BETA_START}, 1), not {beta_end}")
    return torch.linspace(BETA_START, beta_end, steps, dtype=torch.float64)


def cosine_betas(steps: int, _beta_end: float) -> Tensor:
    """(T,) float64, from a squared cosine in alpha_bar (Nichol and Dhariwal, 2021, eq. 17)."""
    place = torch.arange(steps + 1, dtype=torch.float64) / steps
    curve = torch.cos((place + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2).square()
    return (1 - curve[1:] / curve[:-1]).clamp(max=COSINE_BETA_LIMIT)


SCHEDULES: dict[str, Callable[[int, float], Tensor]] = {
    "linear": linear_betas,
    "cosine": cosine_betas,
}
