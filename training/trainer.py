"""One training step, and the whole state of a training between two steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from stages.device import compute_dtype
from stages.model_profiles import PROFILES, ModelProfile, build_networks
from stages.reconstruction.paradigms import NOISE_SCALES, noise_model, norm_guided
from stages.reconstruction.unet import UNet
from stages.segmentation.network import SegmentationNetwork
from training.augment import ViewSource
from training.averaging import AveragedNetwork
from training.balance import defect_weights
from training.distributed import ALONE, Mean, World, learn_jointly
from training.forward import JointModel, Lesson, draw_noise, joint_losses
from training.joint_norm import join_norms
from training.losses import mask_loss
from training.painting import Order, Painter
from training.pool import PoolState, ReconstructionPool, Samples
from training.randomness import Randomness, Use
from training.ranking import ranking_loss
from training.rates import share_of_peak
from training.report import Phase, StepReport, refuse_broken_weights, refuse_non_finite
from training.settings import TrainingSettings
from training.synthesis import Batch, Synthesizer


class Trainer:
    """Both networks, their averages, the optimiser, and how far the training has come.

    All that is drawn at random follows from the seed, the process and the number of the step.
    """

    def __init__(
        self,
        source: ViewSource,
        synthesizer: Synthesizer,
        settings: TrainingSettings,
        channels: int,
        device: torch.device,
        world: World = ALONE,
        profile: ModelProfile | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.profile: ModelProfile = profile or PROFILES[settings.profile]
        self.step_count = 0
        self._segmentation_steps = 0
        self._settings, self._device, self._world = settings, device, world
        self._clock = clock
        torch.manual_seed(settings.seed)
        self.unet, self.segmentation = build_networks(self.profile, channels)
        for network in (self.unet, self.segmentation):
            network.load_state_dict(world.of_first(network.state_dict))
            join_norms(network, world)
            _place(network, device)
        self._averaged_unet = AveragedNetwork(self.unet, settings.ema_decay)
        self._averaged_segmentation = AveragedNetwork(self.segmentation, settings.ema_decay)
        diffusion = self.profile.diffusion
        schedule = diffusion.make_schedule().to(device)
        eps_theta = noise_model(self.unet, schedule, diffusion)
        self._model = JointModel(eps_theta, self.segmentation, schedule, diffusion)
        peaks = (
            (self.unet, settings.learning_rate),
            (self.segmentation, settings.segmentation_rate),
        )
        self._optimizer = torch.optim.AdamW(
            [{"params": list(network.parameters()), "peak": peak} for network, peak in peaks],
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._randomness = Randomness(settings.seed, world.rank)
        ahead = device.type == "cuda"
        self._painter = Painter(source, synthesizer, self._randomness, ahead, clock)
        self._pool = ReconstructionPool(self._painter, self._reconstruct, settings)
        self._generator = torch.Generator(device)

    def step(self, progress: float) -> StepReport:
        """One step at `progress` in [0, 1] of the budget, which drives phase and learning rate.

        In several processes all must call it with the same progress. Raises TrainingError, with
        the weights as they were, for a loss or a gradient that is not finite.
        """
        started_s, painting_s = self._clock(), self._painter.spent_s
        phase = self._phase(progress)
        if phase is not Phase.RECONSTRUCTION and self._segmentation_steps == 0:
            self._forget_gradients()
        rate = self._set_rates(progress, phase)
        found = self._find_gradients(phase)
        refuse_non_finite(self.step_count + 1, found, rate)
        self._optimizer.step()
        self._follow(phase)
        return StepReport(
            self.step_count,
            phase,
            found.get("noise loss"),
            found.get("mask loss"),
            found["gradient norm"],
            rate,
            self._painter.spent_s - painting_s,
            self._clock() - started_s,
        )

    def averaged(self) -> tuple[UNet, SegmentationNetwork]:
        """The averaged networks, live: they change with the next step."""
        return self._averaged_unet.network, self._averaged_segmentation.network

    def state(self) -> dict[str, Any]:
        """Everything that a resumed training needs: tensors and numbers only."""
        return {
            "step": self.step_count,
            "networks": {name: net.state_dict() for name, net in self._networks().items()},
            "optimizer": self._optimizer.state_dict(),
            "segmentation_steps": self._segmentation_steps,
            "pool": asdict(self._pool.state),
        }

    def check_weights(self) -> None:
        """Raises TrainingError where a step of finite gradients left weights that are not finite,
        before they are kept.
        """
        tensors = {
            f"{network}.{name}": tensor
            for network, module in self._networks().items()
            for name, tensor in module.state_dict().items()
        }
        refuse_broken_weights(self.step_count, tensors)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; profile, seed and images must be the same.

        Takes a while in the last phase, whose pool is painted and reconstructed again.
        """
        for name, network in self._networks().items():
            network.load_state_dict(state["networks"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step_count = int(state["step"])
        self._segmentation_steps = int(state["segmentation_steps"])
        self._pool.restore(PoolState(**state["pool"]))

    def _phase(self, progress: float) -> Phase:
        if progress >= self._settings.joint_share:
            return Phase.SEGMENTATION
        alone = progress < self._settings.reconstruction_share
        return Phase.RECONSTRUCTION if alone else Phase.JOINT

    def _find_gradients(self, phase: Phase) -> dict[str, float]:
        """Gradients of what learns in this phase, clipped if the settings say so; the losses and
        the norm before.
        """
        unet = [] if phase is Phase.SEGMENTATION else [self.unet]
        segmentation = [] if phase is Phase.RECONSTRUCTION else [self.segmentation]
        networks: list[nn.Module] = [*unet, *segmentation]
        self._optimizer.zero_grad(set_to_none=True)
        losses = self._losses_on_batch(phase) if unet else self._losses_on_pool()
        means = learn_jointly(list(losses.values()), networks, self._world)
        limit = self._settings.clip_norm or math.inf
        norms = [nn.utils.clip_grad_norm_(network.parameters(), limit) for network in networks]
        found = torch.cat((means, torch.stack(norms).sum()[None])).tolist()
        return dict(zip((*losses, "gradient norm"), found, strict=True))

    def _follow(self, phase: Phase) -> None:
        """The averages follow what has learnt, and the step counts."""
        if phase is not Phase.SEGMENTATION:
            self._averaged_unet.update(self.unet, self.step_count)
            self._pool.empty()
        if phase is not Phase.RECONSTRUCTION:
            self._averaged_segmentation.update(self.segmentation, self._segmentation_steps)
            self._segmentation_steps += 1
        self.step_count += 1

    def _forget_gradients(self) -> None:
        """The gradients of the mask are far larger than those of the noise before them: steps that
        were sized by the old ones would throw the U-Net off all that it has learnt.
        """
        for parameter in self.unet.parameters():
            self._optimizer.state.pop(parameter, None)

    def _losses_on_batch(self, phase: Phase) -> dict[str, Mean]:
        """(9) and, where both networks learn, (10), on a freshly painted batch.

        Without masks or restoration only normal samples, the ones that (9) learns from.
        """
        settings = self._settings
        lesson = Lesson(phase is Phase.JOINT, settings.restoration)
        painted = None if lesson.masks or lesson.restoration else 0
        batch = self._painter.paint(Order(Use.BATCH, self.step_count, painted=painted))
        images = batch.images.to(self._device, memory_format=torch.channels_last)
        masks, labels = batch.masks.to(self._device), batch.labels.to(self._device)
        on_device = Batch(images, batch.normals.to(self._device), masks, labels)
        weights = defect_weights(batch.masks, settings.balance).to(self._device)
        self._seed(Use.NOISE, self.step_count)
        diffusion = self.profile.diffusion
        noise = draw_noise(images, diffusion, settings.focus_share, self._generator)
        with self._autocast():
            losses = joint_losses(self._model, on_device, noise, lesson, weights)
        learnt_from = torch.ones_like(labels) if lesson.restoration else 1.0 - labels
        means = {"noise loss": Mean(losses.noise, learnt_from.sum())}
        return means | ({"mask loss": _over_pixels(losses.mask, masks)} if lesson.masks else {})

    def _losses_on_pool(self) -> dict[str, Mean]:
        """(10) for the segmentation network alone, on reconstructions that are kept, and how it
        ranks them if the settings say so.
        """
        crops = self._randomness.generator(Use.POOL_CROPS, self.step_count)
        renewal = self._randomness.common(Use.POOL_RENEWAL, self.step_count)
        self._pool.renew(renewal)
        samples = self._pool.draw(crops)
        masks = samples.masks.to(self._device)
        weights = samples.weights.to(self._device)
        logits = self._segment(self.segmentation, samples)
        losses = {"mask loss": _over_pixels(mask_loss(logits, masks, weights), masks)}
        if self._settings.pool_ranking > 0.0:
            order = ranking_loss(logits, masks, self._world)
            losses["ranking loss"] = replace(order, value=order.value * self._settings.pool_ranking)
        return losses

    def _segment(self, network: SegmentationNetwork, samples: Samples) -> Tensor:
        """Logits (B, 1, H, W) float32."""
        with self._autocast():
            logits: Tensor = network(
                samples.images.to(self._device, memory_format=torch.channels_last),
                samples.reconstructions.to(self._device, memory_format=torch.channels_last),
            )
        return logits.float()

    def _reconstruct(self, images: Tensor, number: int) -> Tensor:
        """What the averaged U-Net, which is the one that ships, makes of images, as in the line."""
        diffusion = self.profile.diffusion
        model = noise_model(self._averaged_unet.network, self._model.schedule, diffusion)
        x_0 = images.to(self._device, memory_format=torch.channels_last)
        self._seed(Use.POOL_NOISE, number)
        noise = torch.randn(
            (NOISE_SCALES, *x_0.shape[1:]), generator=self._generator, device=self._device
        )
        with torch.no_grad(), self._autocast():
            return norm_guided(model, self._model.schedule, x_0, noise, diffusion)

    def _seed(self, use: Use, number: int) -> None:
        self._generator.manual_seed(self._randomness.torch_seed(use, number))

    def _autocast(self) -> torch.autocast:
        dtype = compute_dtype(self._device)
        return torch.autocast(self._device.type, dtype, enabled=dtype != torch.float32)

    def _set_rates(self, progress: float, phase: Phase) -> float:
        """Of both networks; gives that of the U-Net, or of the segmentation network alone.

        The U-Net warms up once more when the segmentation network joins.
        """
        alone = phase is Phase.RECONSTRUCTION
        taken = (self.step_count if alone else self._segmentation_steps, self._segmentation_steps)
        groups = self._optimizer.param_groups
        for group, steps in zip(groups, taken, strict=True):
            group["lr"] = group["peak"] * share_of_peak(self._settings, progress, steps)
        return float(groups[1 if phase is Phase.SEGMENTATION else 0]["lr"])

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


def _over_pixels(loss: Tensor, masks: Tensor) -> Mean:
    return Mean(loss, torch.full((), float(masks.numel()), device=loss.device))
