from __future__ import annotations

import math

import pytest
import torch

from training.losses import Losses, focal_loss, mask_loss, noise_loss


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_noise_loss_is_the_mean_of_both_scales_over_normal_samples() -> None:
    eps = torch.zeros(2, 1, 2, 2)
    small = torch.stack([torch.full((1, 2, 2), 1.0), torch.full((1, 2, 2), 7.0)])
    big = torch.stack([torch.full((1, 2, 2), 3.0), torch.full((1, 2, 2), 9.0)])

    loss = noise_loss(eps, small, eps, big, torch.tensor([0.0, 1.0]))

    assert loss.item() == pytest.approx((1.0 + 9.0) / 2)


def test_noise_loss_averages_over_the_normal_samples_alone() -> None:
    eps = torch.zeros(3, 1, 1, 1)
    small = torch.tensor([1.0, 2.0, 50.0]).reshape(3, 1, 1, 1)

    loss = noise_loss(eps, small, eps, eps, torch.tensor([0.0, 0.0, 1.0]))

    assert loss.item() == pytest.approx((0.5 + 2.0) / 2)


def test_noise_loss_of_a_batch_without_normals_is_zero_and_has_no_gradient() -> None:
    estimate = torch.ones(2, 1, 2, 2, requires_grad=True)
    zeros = torch.zeros(2, 1, 2, 2)

    loss = noise_loss(zeros, estimate, zeros, estimate, torch.ones(2))
    loss.backward()

    assert loss.item() == 0.0
    assert estimate.grad is not None
    assert estimate.grad.abs().max() == 0.0


@pytest.mark.parametrize(
    ("probability", "mask", "of_true_class"),
    [(0.9, 1.0, 0.9), (0.9, 0.0, 0.1), (0.2, 1.0, 0.2), (0.5, 0.0, 0.5)],
)
def test_focal_loss_by_hand(probability: float, mask: float, of_true_class: float) -> None:
    logits = torch.full((1, 1, 1, 1), logit(probability))

    loss = focal_loss(logits, torch.full((1, 1, 1, 1), mask))

    assert loss.item() == pytest.approx((1 - of_true_class) ** 2 * -math.log(of_true_class))


def test_focal_loss_is_finite_with_finite_gradients_for_huge_logits() -> None:
    logits = torch.tensor([1e4, -1e4, 1e4, -1e4, 0.0]).reshape(1, 1, 1, 5).requires_grad_()
    mask = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0]).reshape(1, 1, 1, 5)

    loss = focal_loss(logits, mask)
    loss.backward()

    assert loss.item() == pytest.approx((1e4 + 1e4 + 0.25 * math.log(2)) / 5)
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_mask_loss_by_hand() -> None:
    logits = torch.tensor([logit(0.9), logit(0.2)]).reshape(1, 1, 1, 2)
    mask = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)

    smooth_l1 = (0.5 * 0.1**2 + 0.5 * 0.2**2) / 2
    focal = (0.1**2 * -math.log(0.9) + 0.2**2 * -math.log(0.8)) / 2

    assert mask_loss(logits, mask).item() == pytest.approx(smooth_l1 + 5 * focal, rel=1e-5)


def test_a_weighted_mask_loss_by_hand() -> None:
    logits = torch.tensor([logit(0.9), logit(0.2)]).reshape(1, 1, 1, 2)
    mask = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    weights = torch.tensor([3.0, 1.0]).reshape(1, 1, 1, 2)

    smooth_l1 = (3 * 0.5 * 0.1**2 + 0.5 * 0.2**2) / 2
    focal = (3 * 0.1**2 * -math.log(0.9) + 0.2**2 * -math.log(0.8)) / 2

    found = mask_loss(logits, mask, weights).item()
    assert found == pytest.approx(smooth_l1 + 5 * focal, rel=1e-5)


def test_total_is_the_sum_of_both() -> None:
    assert Losses(torch.tensor(0.25), torch.tensor(0.5)).total.item() == 0.75
