"""One training step, and the whole state of a training between two steps."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import TrainingError
from stages.device import compute_dtype
from stages.model_profiles import PROFILES, ModelProfile, build_networks
from stages.reconstruction.paradigms import NOISE_SCALES, noise_model, norm_guided
from stages.reconstruction.unet import UNet
from stages.segmentation.network import SegmentationNetwork
from training.augment import ViewSource
from training.averaging import AveragedNetwork
from training.forward import JointModel, Lesson, draw_noise, joint_losses
from training.losses import Losses, mask_loss
from training.pool import ReconstructionPool, Samples
from training.settings import TrainingSettings
from training.statistics import freeze_statistics, settle_statistics
from training.synthesis import Batch, Synthesizer

FINAL_RATE_SHARE = 0.01
SETTLING_STEP = 300
"""After so many steps alone the segmentation network works with statistics that stay."""
SETTLING_BATCHES = 16


@dataclass(frozen=True)
class StepReport:
    """What one step did: its number from 1, the parts of (11), gradient norm, learning rate.

    A part of (11) that the step did not learn from is None.
    """

    step: int
    noise_loss: float | None
    mask_loss: float | None
    gradient_norm: float
    learning_rate: float


class Trainer:
    """Both networks, their averages, the optimiser and all sources of randomness."""

    def __init__(
        self,
        source: ViewSource,
        synthesizer: Synthesizer,
        settings: TrainingSettings,
        channels: int,
        device: torch.device,
    ) -> None:
        self.profile: ModelProfile = PROFILES[settings.profile]
        self.step_count = 0
        self._segmentation_steps = self._alone_steps = 0
        self._source, self._synthesizer, self._settings = source, synthesizer, settings
        self._device = device
        torch.manual_seed(settings.seed)
        self.unet, self.segmentation = build_networks(self.profile, channels)
        _place(self.unet, device)
        _place(self.segmentation, device)
        self._averaged_unet = AveragedNetwork(self.unet, settings.ema_decay)
        self._averaged_segmentation = AveragedNetwork(self.segmentation, settings.ema_decay)
        schedule = self.profile.diffusion.make_schedule().to(device)
        diffusion = self.profile.diffusion
        eps_theta = noise_model(self.unet, schedule, diffusion)
        self._model = JointModel(eps_theta, self.segmentation, schedule, diffusion)
        self._optimizer = torch.optim.AdamW(
            [
                {"params": list(network.parameters()), "peak": peak}
                for network, peak in (
                    (self.unet, settings.learning_rate),
                    (self.segmentation, settings.segmentation_rate),
                )
            ],
            weight_decay=settings.weight_decay,
        )
        self._rng = np.random.default_rng(settings.seed)
        self._pool = ReconstructionPool(source, synthesizer, self._reconstruct, settings)
        self._generator = torch.Generator(device).manual_seed(settings.seed)

    def step(self, progress: float) -> StepReport:
        """One step at `progress` in [0, 1] of the budget, which drives the learning rate.

        Raises TrainingError, with the weights as they were, for a loss or a gradient that is not
        finite.
        """
        masks = progress >= self._settings.reconstruction_share
        if masks and self._segmentation_steps == 0:
            self._forget_gradients()
        taken = (self._segmentation_steps if masks else self.step_count, self._segmentation_steps)
        for group, steps in zip(self._optimizer.param_groups, taken, strict=True):
            group["lr"] = group["peak"] * self._share_of_peak(progress, steps)
        if progress >= self._settings.joint_share:
            return self._segmentation_step()
        anomalies = masks or self._settings.restoration
        losses = self._losses(self._draw(anomalies), Lesson(masks, self._settings.restoration))
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.total)
        limit = self._settings.clip_norm
        norm = nn.utils.clip_grad_norm_(self.unet.parameters(), limit)
        if masks:
            norm = norm + nn.utils.clip_grad_norm_(self.segmentation.parameters(), limit)
        report = StepReport(
            self.step_count + 1,
            losses.noise.item(),
            losses.mask.item() if masks else None,
            norm.item(),
            self._optimizer.param_groups[0]["lr"],
        )
        _refuse_non_finite(report)
        self._optimizer.step()
        self._averaged_unet.update(self.unet, self.step_count)
        if masks:
            self._averaged_segmentation.update(self.segmentation, self._segmentation_steps)
            self._segmentation_steps += 1
        self.step_count += 1
        return report

    def _forget_gradients(self) -> None:
        """The gradients of the mask are far larger than those of the noise before them: steps that
        were sized by the old ones would throw the U-Net off all that it has learnt.
        """
        for parameter in self.unet.parameters():
            self._optimizer.state.pop(parameter, None)

    def _segmentation_step(self) -> StepReport:
        """One step of the segmentation network alone, on reconstructions that are kept."""
        self._alone_steps += 1
        if self._alone_steps == SETTLING_STEP:
            self._settle()
        samples = self._pool.draw(self._rng)
        loss = mask_loss(self._segment(self.segmentation, samples), samples.masks.to(self._device))
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.segmentation.parameters(), self._settings.clip_norm)
        rate = self._optimizer.param_groups[1]["lr"]
        report = StepReport(self.step_count + 1, None, loss.item(), norm.item(), rate)
        _refuse_non_finite(report)
        self._optimizer.step()
        self._averaged_segmentation.update(self.segmentation, self._segmentation_steps)
        self._segmentation_steps += 1
        self.step_count += 1
        return report

    def _settle(self) -> None:
        """The running statistics become those of whole images; the one that learns keeps them."""
        batches = [self._pool.draw_whole(self._rng) for _ in range(SETTLING_BATCHES)]

        def passes(network: SegmentationNetwork) -> None:
            for samples in batches:
                self._segment(network, samples)

        settle_statistics(self.segmentation, passes)
        freeze_statistics(self.segmentation)
        settle_statistics(self._averaged_segmentation.network, passes)

    def _segment(self, network: SegmentationNetwork, samples: Samples) -> Tensor:
        """Logits (B, 1, H, W) float32."""
        dtype = compute_dtype(self._device)
        with torch.autocast(self._device.type, dtype, enabled=dtype != torch.float32):
            logits: Tensor = network(
                samples.images.to(self._device, memory_format=torch.channels_last),
                samples.reconstructions.to(self._device, memory_format=torch.channels_last),
            )
        return logits.float()

    def _reconstruct(self, images: Tensor) -> Tensor:
        """What the averaged U-Net, which is the one that ships, makes of images, as in the line."""
        diffusion = self.profile.diffusion
        model = noise_model(self._averaged_unet.network, self._model.schedule, diffusion)
        x_0 = images.to(self._device, memory_format=torch.channels_last)
        noise = torch.randn(
            (NOISE_SCALES, *x_0.shape[1:]), generator=self._generator, device=self._device
        )
        dtype = compute_dtype(self._device)
        with (
            torch.no_grad(),
            torch.autocast(self._device.type, dtype, enabled=dtype != torch.float32),
        ):
            return norm_guided(model, self._model.schedule, x_0, noise, diffusion)

    def averaged(self) -> tuple[UNet, SegmentationNetwork]:
        """The averaged networks, live: they change with the next step."""
        return self._averaged_unet.network, self._averaged_segmentation.network

    def state(self) -> dict[str, Any]:
        """Everything that a resumed training needs: tensors, numbers and text only."""
        return {
            "step": self.step_count,
            "networks": {name: net.state_dict() for name, net in self._networks().items()},
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "rng": json.dumps(self._rng.bit_generator.state),
            "segmentation_steps": self._segmentation_steps,
            "alone_steps": self._alone_steps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; the profile must be the same."""
        for name, network in self._networks().items():
            network.load_state_dict(state["networks"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"].cpu())
        self._rng.bit_generator.state = json.loads(state["rng"])
        self.step_count = int(state["step"])
        self._segmentation_steps = int(state["segmentation_steps"])
        self._alone_steps = int(state["alone_steps"])
        if self._alone_steps >= SETTLING_STEP:
            freeze_statistics(self.segmentation)

    def _draw(self, anomalies: bool) -> Batch:
        """A batch; without `anomalies` only normal samples, the ones that (9) learns from."""
        views = self._source.draw(self._rng)
        batch = self._synthesizer.batch(
            views.normals,
            views.foregrounds,
            self._rng,
            views.whole,
            painted=None if anomalies else 0,
        )
        images = batch.images.to(self._device, memory_format=torch.channels_last)
        normals, masks = batch.normals.to(self._device), batch.masks.to(self._device)
        return Batch(images, normals, masks, batch.labels.to(self._device))

    def _losses(self, batch: Batch, lesson: Lesson) -> Losses:
        diffusion = self.profile.diffusion
        noise = draw_noise(batch.images, diffusion, self._settings.focus_share, self._generator)
        dtype = compute_dtype(self._device)
        with torch.autocast(self._device.type, dtype, enabled=dtype != torch.float32):
            return joint_losses(self._model, batch, noise, lesson)

    def _share_of_peak(self, progress: float, steps: int) -> float:
        """Of the rate, after `steps` steps of the same kind."""
        warm_up = min(1.0, (steps + 1) / max(self._settings.warm_up_steps, 1))
        if self._settings.rate_schedule == "constant":
            return warm_up
        joint = self._settings.joint_share
        phase = progress if progress < joint else (progress - joint) / max(1.0 - joint, 1e-9)
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(max(phase, 0.0), 1.0)))
        return warm_up * (FINAL_RATE_SHARE + (1.0 - FINAL_RATE_SHARE) * cosine)

    def _networks(self) -> dict[str, nn.Module]:
        return {
            "unet": self.unet,
            "segmentation": self.segmentation,
            "averaged_unet": self._averaged_unet.network,
            "averaged_segmentation": self._averaged_segmentation.network,
        }


def _place(network: nn.Module, device: torch.device) -> None:
    """Move a network to the device, its convolutions in the layout that they prefer."""
    network.train().to(device)
    for weight in network.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def _refuse_non_finite(report: StepReport) -> None:
    found = {
        "noise": report.noise_loss,
        "mask": report.mask_loss,
        "gradient norm": report.gradient_norm,
    }
    learnt = {name: value for name, value in found.items() if value is not None}
    if not all(math.isfinite(value) for value in learnt.values()):
        values = ", ".join(f"{name} {value:.4g}" for name, value in learnt.items())
        raise TrainingError(
            f"step {report.step}: the loss is not finite ({values}). Lower the learning rate (now "
            f"{report.learning_rate:.2g}) or look for damaged images, then go on from the last "
            "checkpoint with --resume"
        )
