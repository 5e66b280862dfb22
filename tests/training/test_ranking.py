from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.ranking import HIGHEST_PX, LEAST_PX, MARGIN_PX, ranking_loss

SIDE_PX = 32
SQUARE = (..., slice(8, 16), slice(8, 16))


def image(good: float, defect: float | None = None) -> tuple[Tensor, Tensor]:
    """Logits and mask (1, 1, H, W): as high everywhere, and in a square that is a defect."""
    logits, mask = torch.full((1, 1, SIDE_PX, SIDE_PX), good), torch.zeros(1, 1, SIDE_PX, SIDE_PX)
    if defect is not None:
        logits[SQUARE], mask[SQUARE] = defect, 1.0
    return logits, mask


def batch(*images: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    logits, masks = zip(*images, strict=True)
    return torch.cat(logits), torch.cat(masks)


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def test_every_good_area_is_compared_with_every_defect() -> None:
    found = ranking_loss(*batch(image(-1.0, 2.0), image(0.5), image(-3.0, -2.0)))

    pairs = [good - defect for good in (-1.0, 0.5, -3.0) for defect in (2.0, -2.0)]
    assert found.count.item() == 6
    assert found.value.item() == pytest.approx(sum(map(softplus, pairs)) / 6, rel=1e-5)


def test_an_image_stands_for_its_highest_pixels() -> None:
    logits, masks = batch(image(-9.0), image(-9.0, 1.0))
    logits[0, 0, 30, :HIGHEST_PX] = 4.0

    found = ranking_loss(logits, masks)

    assert found.value.item() == pytest.approx((softplus(3.0) + softplus(-10.0)) / 2, rel=1e-4)


def test_a_defect_smaller_than_that_stands_for_itself() -> None:
    logits, masks = image(-2.0)
    logits[..., 5, :LEAST_PX], masks[..., 5, :LEAST_PX] = 3.0, 1.0

    found = ranking_loss(logits, masks)

    assert found.value.item() == pytest.approx(softplus(-5.0), rel=1e-4)


def test_what_is_left_of_a_defect_at_the_border_of_a_crop_need_not_be_seen() -> None:
    logits, masks = image(-2.0)
    masks[..., 5, : LEAST_PX - 1] = 1.0

    found = ranking_loss(logits, masks)

    assert found.count.item() == 0
    assert found.value.item() == 0.0


def test_the_edge_of_a_defect_does_not_count_as_good() -> None:
    logits, masks = image(-2.0, 3.0)
    edge = (..., slice(8 - MARGIN_PX, 16 + MARGIN_PX), slice(8 - MARGIN_PX, 16 + MARGIN_PX))
    logits[edge] = 3.0

    assert ranking_loss(logits, masks).value.item() == pytest.approx(softplus(-5.0), rel=1e-4)

    logits[..., 8 - MARGIN_PX - 1, :HIGHEST_PX] = 3.0

    assert ranking_loss(logits, masks).value.item() == pytest.approx(softplus(0.0), rel=1e-4)


@pytest.mark.parametrize("masks", [torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)])
def test_without_pairs_there_is_nothing_to_learn(masks: Tensor) -> None:
    logits = torch.randn(2, 1, 8, 8, requires_grad=True)

    found = ranking_loss(logits, masks)
    (gradient,) = torch.autograd.grad(found.value, logits)

    assert found.count.item() == 0
    assert gradient.abs().max() == 0.0


def test_its_gradient_pulls_good_and_defect_apart() -> None:
    logits, masks = image(1.0, 0.0)
    logits.requires_grad_()

    (gradient,) = torch.autograd.grad(ranking_loss(logits, masks).value, logits)

    assert gradient[masks > 0].sum() < 0.0
    assert gradient[masks == 0].sum() > 0.0
    assert gradient.abs().sum() == pytest.approx(2 * torch.sigmoid(torch.tensor(1.0)).item())
