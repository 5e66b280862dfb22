"""How the learning rate goes over a training."""

from __future__ import annotations

import math

from training.settings import TrainingSettings

FINAL_RATE_SHARE = 0.1


def share_of_peak(settings: TrainingSettings, progress: float, steps: int) -> float:
    """The share of its peak that a rate has at `progress` in [0, 1] of the budget.

    It rises over the first of the `steps` that were taken since a network began or began anew,
    and falls as a cosine to a tenth at `joint_share` and again at the end.
    """
    warm_up = min(1.0, (steps + 1) / max(settings.warm_up_steps, 1))
    if settings.rate_schedule == "constant":
        return warm_up
    joint = settings.joint_share
    phase = progress if progress < joint else (progress - joint) / max(1.0 - joint, 1e-9)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(max(phase, 0.0), 1.0)))
    return warm_up * (FINAL_RATE_SHARE + (1.0 - FINAL_RATE_SHARE) * cosine)
