"""The denoising paradigms of the paper's ablations: plain functions with one signature.

    paradigm(model, schedule, x_0, noise, settings) -> reconstruction

`model(x_t, t)` predicts noise; `x_0` (B, C, H, W) float in [-1, 1]; `noise[i]` (C, H, W) is a fixed
standard normal field, the same for every image of the batch: 0 belongs to t_small, 1 to t_big and
2 + t to the step from t, where noise is added at each step.
The reconstruction is (B, C, H, W) float32 in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Annotated, Literal, Protocol

import torch
from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name that every torch program uses

from stages.reconstruction.diffusion import (
    ancestral_mean,
    ancestral_sigma,
    ddim_mean,
    ddim_sigma,
    eps_from_x_0,
    predict_x_0,
    q_sample,
)
from stages.reconstruction.guidance import norm_guided_blend
from stages.reconstruction.schedule import (
    BETA_START,
    DEFAULT_BETA_END,
    DEFAULT_STEPS,
    Schedule,
    ScheduleName,
    make_schedule,
)

NOISE_SCALES = 2
COARSE_PX = 16
LARGEST_ALPHA_BAR = 0.9
"""Below this much noise a network that predicts the image is not divided by less noise."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DiffusionSettings:
    """Schedule and time steps; `tau` splits [0, T) into small and big noise when training.

    `predicts` is what the U-Net's output means: the noise, as published, or the image, from which
    the noise follows exactly (`noise_model`). `ddim_*` are of the paradigm of that name.
    """

    schedule: ScheduleName = "linear"
    steps: PositiveInt = DEFAULT_STEPS
    beta_end: Annotated[float, Field(gt=BETA_START, lt=1)] = DEFAULT_BETA_END
    t_small: NonNegativeInt = 200
    t_big: NonNegativeInt = 400
    tau: NonNegativeInt = 300
    w: NonNegativeFloat = 1.0
    predicts: Literal["noise", "image"] = "noise"
    ddim_steps: PositiveInt = 30
    ddim_eta: Annotated[float, Field(ge=0, le=1)] = 0.0

    def __post_init__(self) -> None:
        if not self.t_small <= self.tau < self.t_big < self.steps:
            raise ValueError(
                f"t_small <= tau < t_big < steps must hold, not "
                f"{self.t_small} <= {self.tau} < {self.t_big} < {self.steps}"
            )

    def make_schedule(self) -> Schedule:
        """The noise schedule that these settings name, on the CPU."""
        return make_schedule(self.schedule, self.beta_end, self.steps)


class Noise(Protocol):
    """Standard normal fields by number, each (C, H, W); a tensor of the first few will do."""

    def __getitem__(self, index: int, /) -> Tensor:
        """The field of this number, always the same."""
        ...


Model = Callable[[Tensor, Tensor], Tensor]
Paradigm = Callable[[Model, Schedule, Tensor, Noise, DiffusionSettings], Tensor]


def noise_model(network: Model, schedule: Schedule, settings: DiffusionSettings) -> Model:
    """`eps_theta(x_t, t)`, whatever the network predicts.

    A small network cannot pass noise through its folded pixels unharmed, and what it misses of
    the noise stays in the estimate of the image. Predicting the image instead leaves that estimate
    as smooth as the network's output; equations and losses stay those of the noise. Where it is
    light or dark and in which colour need not be learnt: the local mean of x_t, in which the noise
    has all but gone, already tells, and the network adds what is missing to the image.
    """
    if settings.predicts == "noise":
        return network

    def eps_theta(x_t: Tensor, t: Tensor) -> Tensor:
        alpha_bar_t = schedule.alpha_bar(t)
        coarse = local_mean(x_t) / alpha_bar_t.sqrt()
        x_0 = coarse + network(x_t, t).float()
        return eps_from_x_0(x_t, x_0, alpha_bar_t.clamp(max=LARGEST_ALPHA_BAR))

    return eps_theta


def local_mean(x: Tensor) -> Tensor:
    """(B, C, H, W), each pixel the mean of about COARSE_PX x COARSE_PX around it, float32."""
    height, width = x.shape[2:]
    cells = (max(1, height // COARSE_PX), max(1, width // COARSE_PX))
    means = F.interpolate(x.float(), cells, mode="area")
    return F.interpolate(means, (height, width), mode="bilinear", align_corners=False)


def one_step(
    model: Model, schedule: Schedule, x_0: Tensor, noise: Noise, settings: DiffusionSettings
) -> Tensor:
    """The one-step estimate (6) from t_small."""
    t = _time_steps(settings.t_small, x_0)
    alpha_bar_t = schedule.alpha_bar(t)
    x_t = q_sample(x_0, noise[0], alpha_bar_t)
    return in_image_range(predict_x_0(x_t, model(x_t, t).float(), alpha_bar_t))


def norm_guided(
    model: Model, schedule: Schedule, x_0: Tensor, noise: Noise, settings: DiffusionSettings
) -> Tensor:
    """The norm-guided estimate (8); both noise scales go through the network in one batch of 2B."""
    t_s, t_b = _time_steps(settings.t_small, x_0), _time_steps(settings.t_big, x_0)
    alpha_bar_ts, alpha_bar_tb = schedule.alpha_bar(t_s), schedule.alpha_bar(t_b)
    x_ts = q_sample(x_0, noise[0], alpha_bar_ts)
    x_tb = q_sample(x_0, noise[1], alpha_bar_tb)
    eps = model(torch.cat((x_ts, x_tb)), torch.cat((t_s, t_b))).float()
    eps_ts, eps_tb = eps.view(NOISE_SCALES, *x_0.shape).unbind()
    x_fine = predict_x_0(x_ts, eps_ts, alpha_bar_ts)
    return norm_guided_estimate(
        x_fine, predict_x_0(x_tb, eps_tb, alpha_bar_tb), alpha_bar_ts, settings.w
    )


def norm_guided_estimate(
    x_fine: Tensor, x_coarse: Tensor, alpha_bar_ts: Tensor, w: float
) -> Tensor:
    """The reconstruction from both one-step estimates, as training and inference form it.

    `x_coarse` is clamped to the image range [-1, 1] before it guides, and so is the result.
    """
    return in_image_range(norm_guided_blend(x_fine, in_image_range(x_coarse), alpha_bar_ts, w))


def in_image_range(x: Tensor) -> Tensor:
    """An estimate (B, C, H, W) clamped to [-1, 1]; what is not a number stays so in every runtime:
    OpenVINO's own clamp would make -1 of it.
    """
    return torch.where(x.isnan(), x, x.clamp(-1, 1))


def ddim(
    model: Model, schedule: Schedule, x_0: Tensor, noise: Noise, settings: DiffusionSettings
) -> Tensor:
    """DDIM (Song et al., 2021) from t_big in `ddim_steps` passes of the network."""
    x_t = q_sample(x_0, noise[1], schedule.alpha_bar(_time_steps(settings.t_big, x_0)))
    for t, t_to in pairwise((*_way_down(settings, settings.ddim_steps), -1)):
        steps, steps_to = _time_steps(t, x_0), _time_steps(t_to, x_0)
        alpha_bar_t, alpha_bar_to = schedule.alpha_bar(steps), schedule.alpha_bar(steps_to)
        sigma = ddim_sigma(alpha_bar_t, alpha_bar_to, settings.ddim_eta)
        x_t = ddim_mean(x_t, model(x_t, steps).float(), alpha_bar_t, alpha_bar_to, sigma)
        if settings.ddim_eta > 0 and t_to >= 0:
            x_t = x_t + sigma * noise[NOISE_SCALES + t]
    return in_image_range(x_t)


def iterative(
    model: Model, schedule: Schedule, x_0: Tensor, noise: Noise, settings: DiffusionSettings
) -> Tensor:
    """Ancestral sampling (3) from t_big, step by step; the last step, without noise, is (6)."""
    x_t = q_sample(x_0, noise[1], schedule.alpha_bar(_time_steps(settings.t_big, x_0)))
    *way, last = _way_down(settings, settings.t_big + 1)
    for t in way:
        steps = _time_steps(t, x_0)
        beta_t, alpha_bar_t = schedule.beta(steps), schedule.alpha_bar(steps)
        sigma_t = ancestral_sigma(beta_t, alpha_bar_t, schedule.alpha_bar(steps - 1))
        x_t = ancestral_mean(x_t, model(x_t, steps).float(), beta_t, alpha_bar_t)
        x_t = x_t + sigma_t * noise[NOISE_SCALES + t]
    steps = _time_steps(last, x_0)
    return in_image_range(predict_x_0(x_t, model(x_t, steps).float(), schedule.alpha_bar(steps)))


PARADIGMS: dict[str, Paradigm] = {
    "one_step": one_step,
    "norm_guided": norm_guided,
    "ddim": ddim,
    "iterative": iterative,
}


def scales_at_once(name: str) -> int:
    """How many times one batch of the network holds each image, for a paradigm of PARADIGMS."""
    return NOISE_SCALES if name == "norm_guided" else 1


def fresh_noise(name: str, settings: DiffusionSettings) -> bool:
    """Whether a paradigm of PARADIGMS adds fresh noise at each step, drawn on the CPU."""
    return name == "iterative" or (name == "ddim" and settings.ddim_eta > 0)


def _way_down(settings: DiffusionSettings, passes: int) -> list[int]:
    """At most `passes` time steps from t_big, evenly spaced, each smaller than the one before."""
    span = settings.t_big - _least_step(settings) + 1
    count = min(passes, span)
    return [settings.t_big - index * span // count for index in range(count)]


@cache
def _least_step(settings: DiffusionSettings) -> int:
    """The time step from which the last noise goes at once: 0, but for an image-predicting network.

    What that one says of less noise than LARGEST_ALPHA_BAR leaves is bounded (`noise_model`), so
    that going on step by step would leave some of the noise in the image. Found once, and on the
    CPU: a schedule on a GPU would be waited for, in the midst of a CUDA graph.
    """
    if settings.predicts == "noise":
        return 0
    alpha_bars = settings.make_schedule().alpha_bars
    return min(int((alpha_bars > LARGEST_ALPHA_BAR).sum()), settings.t_big)


def _time_steps(t: int, x_0: Tensor) -> Tensor:
    return torch.full((x_0.shape[0],), t, dtype=torch.int64, device=x_0.device)
