from __future__ import annotations

import pytest
from pydantic import ValidationError

from stages.model_profiles import PROFILES
from training.settings import OF_PROFILE, TrainingSettings
from training.synthesis import AnomalyKind


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
    assert settings.learning_rate == settings.segmentation_rate == 1e-4
    assert (settings.reconstruction_share, settings.joint_share) == (0.0, 1.0)
    assert settings.batch_size == 16
    assert not settings.restoration
