from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stages.reconstruction.diffusion import q_sample
from stages.reconstruction.paradigms import DiffusionSettings, norm_guided
from training.forward import JointModel, Lesson, NoiseDraw, draw_noise, joint_losses
from training.losses import mask_loss
from training.synthesis import Batch

SETTINGS = DiffusionSettings()


def batch(labels: list[float]) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(len(labels), 1, 8, 8, generator=generator) * 2 - 1
    y = torch.tensor(labels)
    masks = y[:, None, None, None].expand(-1, 1, 8, 8).contiguous()
    return Batch(images + 0.5 * masks, images, masks, y)


def test_time_steps_are_drawn_from_both_sides_of_tau() -> None:
    noise = draw_noise(torch.zeros(4000, 1, 1, 1), SETTINGS, 0.0, torch.Generator().manual_seed(0))

    assert (int(noise.t_small.min()), int(noise.t_small.max())) == (0, SETTINGS.tau)
    assert (int(noise.t_big.min()), int(noise.t_big.max())) == (SETTINGS.tau + 1, 999)
    assert noise.eps_small.std().item() == pytest.approx(1.0, abs=0.05)
    assert not torch.equal(noise.eps_small, noise.eps_big)


def test_focused_samples_take_the_pair_of_inference() -> None:
    noise = draw_noise(torch.zeros(2000, 1, 1, 1), SETTINGS, 0.5, torch.Generator().manual_seed(0))

    focused = noise.t_small == SETTINGS.t_small
    assert focused.float().mean().item() == pytest.approx(0.5, abs=0.05)
    big = (noise.t_big == SETTINGS.t_big)[focused]
    assert big.float().mean().item() > 0.98


def test_the_true_noise_gives_no_noise_loss_and_the_image_itself() -> None:
    samples = batch([0.0, 0.0])
    t = torch.tensor([200, 100]), torch.tensor([400, 350])
    generator = torch.Generator().manual_seed(1)
    eps = [torch.randn(2, 1, 8, 8, generator=generator) for _ in range(2)]
    seen: list[Tensor] = []

    def segmentation(image: Tensor, reconstruction: Tensor) -> Tensor:
        seen.append(reconstruction)
        return torch.zeros_like(image)

    model = JointModel(
        lambda x, _: torch.cat(eps), segmentation, SETTINGS.make_schedule(), SETTINGS
    )
    losses = joint_losses(model, samples, NoiseDraw(*t, *eps), Lesson())

    assert losses.noise.item() == 0.0
    assert torch.allclose(seen[0], samples.images, atol=1e-4)
    assert losses.mask.item() == pytest.approx(
        mask_loss(torch.zeros(2, 1, 8, 8), samples.masks).item()
    )


def test_training_reconstructs_exactly_like_inference() -> None:
    samples, schedule = batch([0.0, 1.0, 0.0]), SETTINGS.make_schedule()
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    seen: list[Tensor] = []

    def unet(x_t: Tensor, t: Tensor) -> Tensor:
        return 0.3 * x_t + t[:, None, None, None] / 5000

    def segmentation(image: Tensor, reconstruction: Tensor) -> Tensor:
        seen.append(reconstruction)
        return image

    draw = NoiseDraw(
        torch.full((3,), SETTINGS.t_small),
        torch.full((3,), SETTINGS.t_big),
        noise[0].expand(3, -1, -1, -1),
        noise[1].expand(3, -1, -1, -1),
    )
    joint_losses(JointModel(unet, segmentation, schedule, SETTINGS), samples, draw, Lesson())

    expected = norm_guided(unet, schedule, samples.images, noise, SETTINGS)
    assert torch.allclose(seen[0], expected, atol=1e-6)


def test_the_network_sees_noised_images_of_both_scales_in_one_pass() -> None:
    samples, schedule = batch([0.0, 1.0]), SETTINGS.make_schedule()
    draw = draw_noise(samples.images, SETTINGS, 0.5, torch.Generator().manual_seed(3))
    passes: list[tuple[Tensor, Tensor]] = []

    def unet(x_t: Tensor, t: Tensor) -> Tensor:
        passes.append((x_t, t))
        return x_t

    model = JointModel(unet, lambda image, _: image, schedule, SETTINGS)
    joint_losses(model, samples, draw, Lesson())

    ((x_t, t),) = passes
    assert torch.equal(t, torch.cat((draw.t_small, draw.t_big)))
    small = q_sample(samples.images, draw.eps_small, schedule.alpha_bar(draw.t_small))
    assert torch.equal(x_t[:2], small)


def test_the_mask_loss_teaches_the_unet_too() -> None:
    scale = torch.tensor(0.5, requires_grad=True)
    samples = batch([1.0, 1.0])  # no normal sample: the noise loss is silent
    draw = draw_noise(samples.images, SETTINGS, 1.0, torch.Generator().manual_seed(4))
    model = JointModel(
        lambda x_t, _: scale * x_t,
        lambda image, reconstruction: image - reconstruction,
        SETTINGS.make_schedule(),
        SETTINGS,
    )

    joint_losses(model, samples, draw, Lesson()).total.backward()

    assert scale.grad is not None
    assert scale.grad.abs().item() > 0


def perfect_restorer(samples: Batch) -> JointModel:
    """A U-Net that knows the normal images, and a segmentation network that must not be asked."""
    schedule = SETTINGS.make_schedule()

    def unet(x_t: Tensor, t: Tensor) -> Tensor:
        alpha_bar = schedule.alpha_bar(t)
        normals = torch.cat((samples.normals, samples.normals))
        return (x_t - alpha_bar.sqrt() * normals) / (1 - alpha_bar).sqrt()

    def segmentation(image: Tensor, reconstruction: Tensor) -> Tensor:
        raise AssertionError("the segmentation network learns nothing in this lesson")

    return JointModel(unet, segmentation, schedule, SETTINGS)


def test_restoration_asks_for_the_part_without_its_anomaly() -> None:
    samples = batch([0.0, 1.0, 1.0])
    draw = draw_noise(samples.images, SETTINGS, 1.0, torch.Generator().manual_seed(5))
    lesson = Lesson(masks=False, restoration=True)

    losses = joint_losses(perfect_restorer(samples), samples, draw, lesson)

    assert losses.noise.item() == pytest.approx(0.0, abs=1e-8)
    assert losses.mask.item() == 0.0


def test_without_restoration_anomalous_samples_are_left_out_as_in_the_paper() -> None:
    samples = batch([1.0, 1.0])
    draw = draw_noise(samples.images, SETTINGS, 1.0, torch.Generator().manual_seed(6))

    losses = joint_losses(perfect_restorer(samples), samples, draw, Lesson(masks=False))

    assert losses.noise.item() == 0.0
