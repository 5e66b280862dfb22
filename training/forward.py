"""One joint forward pass of both networks, from synthetic samples to the losses (9) to (11)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.reconstruction.diffusion import predict_x_0, q_sample
from stages.reconstruction.paradigms import (
    LARGEST_ALPHA_BAR,
    DiffusionSettings,
    norm_guided_estimate,
)
from stages.reconstruction.schedule import Schedule
from training.losses import Losses, mask_loss, noise_loss
from training.synthesis import Batch

Network = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class JointModel:
    """Both networks, with the schedule and the time steps that they work by.

    `unet` is eps_theta(x_t, t), which predicts noise.
    """

    unet: Network
    segmentation: Network
    schedule: Schedule
    settings: DiffusionSettings


@dataclass(frozen=True)
class NoiseDraw:
    """Time steps (B,) int64 and noise (B, C, H, W) of the small and of the big scale."""

    t_small: Tensor
    t_big: Tensor
    eps_small: Tensor
    eps_big: Tensor


def draw_noise(
    x_0: Tensor, settings: DiffusionSettings, focus_share: float, generator: torch.Generator
) -> NoiseDraw:
    """t_s from [0, tau] and t_b from [tau + 1, T) per sample, and standard normal noise.

    A share `focus_share` of the samples takes the pair of steps that inference uses: in a short
    training the segmentation network then sees the reconstructions that it will meet.
    """
    count, device = x_0.shape[0], x_0.device

    def steps(low: int, high: int, fixed: int) -> Tensor:
        drawn = torch.randint(low, high, (count,), generator=generator, device=device)
        return torch.where(focused, torch.full_like(drawn, fixed), drawn)

    focused = torch.rand(count, generator=generator, device=device) < focus_share
    return NoiseDraw(
        steps(0, settings.tau + 1, settings.t_small),
        steps(settings.tau + 1, settings.steps, settings.t_big),
        torch.randn(x_0.shape, generator=generator, device=device),
        torch.randn(x_0.shape, generator=generator, device=device),
    )


@dataclass(frozen=True)
class Lesson:
    """What a step teaches: `masks` the segmentation network too; `restoration` (not in the paper)
    the U-Net on anomalous samples too, with the part without its anomaly as the answer.
    """

    masks: bool = True
    restoration: bool = False


def joint_losses(
    model: JointModel,
    batch: Batch,
    noise: NoiseDraw,
    lesson: Lesson,
    weights: Tensor | None = None,
) -> Losses:
    """Both scales through the U-Net as one batch of 2B, the guided estimate, then the mask.

    `weights` are those of `mask_loss`. Nothing is detached, as in the paper: the mask loss also
    teaches the U-Net to leave a defect out of its estimate.
    """
    x_0, labels = batch.images, batch.labels
    alpha_bar_ts = model.schedule.alpha_bar(noise.t_small)
    alpha_bar_tb = model.schedule.alpha_bar(noise.t_big)
    x_ts = q_sample(x_0, noise.eps_small, alpha_bar_ts)
    x_tb = q_sample(x_0, noise.eps_big, alpha_bar_tb)
    t = torch.cat((noise.t_small, noise.t_big))
    eps_hat = model.unet(torch.cat((x_ts, x_tb)), t).float()  # (2B, C, H, W)
    eps_ts, eps_tb = eps_hat.chunk(2)
    wanted_ts, wanted_tb = noise.eps_small, noise.eps_big
    if lesson.restoration:
        wanted_ts = restoring_noise(wanted_ts, x_0, batch.normals, alpha_bar_ts)
        wanted_tb = restoring_noise(wanted_tb, x_0, batch.normals, alpha_bar_tb)
        labels = torch.zeros_like(labels)
    noise_part = noise_loss(wanted_ts, eps_ts, wanted_tb, eps_tb, labels)
    if not lesson.masks:
        return Losses(noise_part, torch.zeros_like(noise_part))
    x_0_hat = norm_guided_estimate(
        predict_x_0(x_ts, eps_ts, alpha_bar_ts),
        predict_x_0(x_tb, eps_tb, alpha_bar_tb),
        alpha_bar_ts,
        model.settings.w,
    )
    logits = model.segmentation(x_0, x_0_hat).float()  # (B, 1, H, W)
    return Losses(noise_part, mask_loss(logits, batch.masks, weights))


def restoring_noise(eps: Tensor, x_0: Tensor, normals: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """The noise with which x_t leads to the normal image: eps + sqrt(a / (1 - a)) (S - N).

    a is bounded as for a network that predicts the image: close to t = 0 next to no noise would
    have to stand for a whole anomaly.
    """
    a = alpha_bar_t.clamp(max=LARGEST_ALPHA_BAR)
    return eps + (a / (1 - a)).sqrt() * (x_0 - normals)
