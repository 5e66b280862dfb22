from __future__ import annotations

import pytest

from training.rates import share_of_peak
from training.settings import TrainingSettings

SETTINGS = TrainingSettings(steps=10, warm_up_steps=4, reconstruction_share=0.5, joint_share=0.5)


def test_the_rate_warms_up_over_the_first_steps() -> None:
    shares = [share_of_peak(SETTINGS, 0.0, steps) for steps in range(6)]

    assert shares == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])


def test_the_rate_falls_to_a_tenth_twice() -> None:
    shares = [share_of_peak(SETTINGS, progress, 99) for progress in (0.25, 0.499999, 0.5, 0.75, 1)]

    assert shares[1] < shares[0]
    assert shares[2:] == pytest.approx([1.0, 0.55, 0.1])


def test_a_constant_rate_stays_at_its_peak() -> None:
    constant = SETTINGS.model_copy(update={"rate_schedule": "constant"})

    assert [share_of_peak(constant, progress, 99) for progress in (0.0, 0.5, 1.0)] == [1.0] * 3
