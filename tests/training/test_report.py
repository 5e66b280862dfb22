from __future__ import annotations

import math

import pytest
import torch

from pipeline.errors import TrainingError
from training.report import refuse_broken_weights, refuse_non_finite


def test_finite_values_pass() -> None:
    refuse_non_finite(3, {"noise loss": 0.5, "gradient norm": 1e30}, 1e-3)
    refuse_broken_weights(3, {"unet.stem": torch.ones(2), "unet.counter": torch.tensor(7)})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_named_with_all_values(value: float) -> None:
    found = {"noise loss": 0.5, "mask loss": 0.25, "gradient norm": value}

    with pytest.raises(TrainingError, match=r"step 3 .*: gradient norm \(noise loss 0.5, mask"):
        refuse_non_finite(3, found, 1e-3)


def test_a_broken_weight_is_named() -> None:
    weights = {"unet.stem": torch.ones(2), "unet.head": torch.tensor([1.0, math.inf])}

    with pytest.raises(TrainingError, match=r"after step 3 unet\.head is not finite"):
        refuse_broken_weights(3, weights)


def test_the_advice_is_to_start_again_since_a_resume_takes_no_other_rate() -> None:
    with pytest.raises(TrainingError, match=r"Lower the learning rate.* again without --resume"):
        refuse_non_finite(3, {"noise loss": math.nan}, 1e-3)
    with pytest.raises(TrainingError, match=r"Lower the learning rate.* again without --resume"):
        refuse_broken_weights(3, {"unet.head": torch.tensor(math.inf)})
