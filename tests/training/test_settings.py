from __future__ import annotations

import pytest
from pydantic import ValidationError

from stages.model_profiles import PROFILES
from training.settings import OF_PROFILE, TrainingSettings
from training.synthesis import AnomalyKind

FREE_IN_PAPER = (
    *("minutes", "steps", "seed", "device", "whole_share", "turn_deg", "zoom_jitter"),
    *("pool_images", "pool_refresh", "pool_batch_size", "pool_whole_share", "pool_ranking"),
    *("validation_share", "validation_images", "validation_minutes", "checkpoint_minutes"),
)
"""Of these the paper says nothing, or they do nothing in its training."""


@pytest.mark.parametrize("budget", [{}, {"minutes": 5, "steps": 10}])
def test_exactly_one_budget_is_wanted(budget: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="either minutes or steps"):
        TrainingSettings.model_validate(budget)


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rates": 1e-3},
        {"crop_px": 100},
        {"learning_rate": 0},
        {"seed": 2**63},
        {"learning_rate": float("inf")},
        {"beta_end": 1.0},
        {"noise_schedule": "quadratic"},
        {"kinds": []},
        {"kinds": ["rust"]},
        {"minutes": 0, "steps": None},
        {"reconstruction_share": 0.5, "joint_share": 0.4},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainingSettings.model_validate({"steps": 1} | wrong)


def test_settings_do_not_change_and_have_every_kind_by_default() -> None:
    settings = TrainingSettings(steps=5)

    assert set(settings.kinds) == set(AnomalyKind)
    with pytest.raises(ValidationError):
        settings.steps = 6  # type: ignore[misc]


def test_the_paper_profile_trains_jointly_at_the_papers_rate() -> None:
    settings = TrainingSettings.model_validate({"steps": 1, **OF_PROFILE["paper"]})

    assert set(OF_PROFILE) <= set(PROFILES)
    assert settings.model_dump(exclude=set(FREE_IN_PAPER)) == {
        "profile": "compact",
        "noise_schedule": None,
        "beta_end": None,
        "batch_size": 16,
        "crop_px": 256,
        "learning_rate": 1e-4,
        "segmentation_rate": 1e-4,
        "rate_schedule": "constant",
        "warm_up_steps": 0,
        "weight_decay": 0.0,
        "clip_norm": None,
        "ema_decay": 0.0,
        "focus_share": 0.0,
        "reconstruction_share": 0.0,
        "joint_share": 1.0,
        "restoration": False,
        "balance": 0.0,
        "exposure": "as_is",
        "surface": False,
        "flip_horizontal": False,
        "flip_vertical": False,
        "brightness_jitter": 0.0,
        "warp_share": 0.0,
        "optics_share": 0.0,
        "kinds": (AnomalyKind.PERLIN,),
        "textures": None,
    }


def test_a_schedule_without_an_end_takes_no_end_value() -> None:
    TrainingSettings(steps=1, noise_schedule="linear", beta_end=0.03)
    with pytest.raises(ValidationError, match="cosine has no end value"):
        TrainingSettings(steps=1, noise_schedule="cosine", beta_end=0.03)
