from __future__ import annotations

import pytest
import torch

from training.balance import LARGEST_WEIGHT, LEAST_WEIGHT, REFERENCE_PX, defect_weights


def masks() -> torch.Tensor:
    """(2, 1, 128, 128): a hairline and a large square apart from each other; then nothing."""
    drawn = torch.zeros(2, 1, 128, 128)
    drawn[0, 0, 10, 4:124] = 1.0
    drawn[0, 0, 40:110, 20:90] = 1.0
    return drawn


def test_small_defects_count_more_and_large_ones_less() -> None:
    weights = defect_weights(masks(), 0.5)

    assert weights.shape == (2, 1, 128, 128)
    assert weights[0, 0, 10, 60].item() == pytest.approx((REFERENCE_PX / 120) ** 0.5)
    assert weights[0, 0, 70, 50].item() == pytest.approx((REFERENCE_PX / 4900) ** 0.5)
    assert weights[0, 0, 125, 5].item() == 1.0
    assert torch.equal(weights[1], torch.ones(1, 128, 128))


def test_what_lies_next_to_a_defect_counts_like_it() -> None:
    weights = defect_weights(masks(), 0.5)

    assert weights[0, 0, 9, 60] == weights[0, 0, 10, 60]
    assert weights[0, 0, 8, 60] == 1.0


def test_weights_are_limited() -> None:
    drawn = torch.zeros(1, 1, 256, 256)
    drawn[0, 0, 3, 3] = 1.0
    drawn[0, 0, 20:, :] = 1.0
    weights = defect_weights(drawn, 1.0)

    assert weights[0, 0, 3, 3].item() == LARGEST_WEIGHT
    assert weights[0, 0, 100, 100].item() == LEAST_WEIGHT


def test_power_0_is_the_papers_mean() -> None:
    assert torch.equal(defect_weights(masks(), 0.0), torch.ones(2, 1, 128, 128))
