from __future__ import annotations

import pytest
from pydantic import ValidationError

from training.settings import TrainingSettings
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
