"""The threshold of a line from the scores of normal parts, by order statistics.

Scores of normal parts are taken as exchangeable: the parts of the calibration and a fresh normal
part come from the same process. Then the rank of a fresh score among N + 1 is uniform, and a
threshold at the k-th smallest of N scores rejects a fresh normal part (score > threshold) with
probability (N + 1 - k) / (N + 1) at most, whatever the distribution (split conformal prediction).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.special import betaincinv

from pipeline.errors import ConfigError, InputError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class ThresholdFit:
    """A threshold and what may be expected of it; REJECT is score > threshold.

    `rank` counts from 1: the threshold is the rank-th smallest of `count` scores. Rates are shares
    of normal parts in [0, 1]; `upper_bound` holds for this very threshold at 95 % confidence.
    """

    threshold: float
    rank: int
    count: int
    expected_false_reject_rate: float
    upper_bound: float


def fit_threshold(scores: np.ndarray, false_reject_rate: float) -> ThresholdFit:
    """The lowest threshold whose expected false-reject rate is at most the wanted one.

    `scores`: (N,) raw scores of normal parts. Raises ConfigError for a rate outside (0, 1), and
    InputError where a score is not finite or N is smaller than `parts_needed`.
    """
    wanted = _wanted(false_reject_rate)
    assert scores.ndim == 1, f"expected (N,), got {scores.shape}"
    count = len(scores)
    _check_finite(scores)
    require_parts(count, false_reject_rate)
    rank = count + 1 - math.floor((count + 1) * wanted)
    return ThresholdFit(
        threshold=float(np.partition(scores, rank - 1)[rank - 1]),
        rank=rank,
        count=count,
        expected_false_reject_rate=(count + 1 - rank) / (count + 1),
        upper_bound=false_reject_bound(rank, count),
    )


def drawing_threshold(threshold: float) -> float:
    """The probability above which a pixel is drawn as part of a defect, for map pixels in [0, 1].

    It lies just below the threshold of the score, or at 0.5 where that is lower. A score is the
    mean of a map's highest pixels, so every rejected part shows at least one region. The value is
    one of float16, as the maps are.
    """
    below = np.nextafter(np.float16(threshold), np.float16(0))
    return float(np.clip(below, 0.0, 0.5))


def parts_needed(false_reject_rate: float) -> int:
    """Fewest normal parts that allow this rate: ceil(1 / rate) - 1, where rank N just suffices."""
    return math.ceil(1 / _wanted(false_reject_rate)) - 1


def require_parts(count: int, false_reject_rate: float) -> None:
    """Raises InputError where `count` normal parts are too few for this rate."""
    if count < parts_needed(false_reject_rate):
        raise InputError(_too_few(count, false_reject_rate))


def false_reject_bound(rank: int, count: int, confidence: float = CONFIDENCE) -> float:
    """Upper bound of the false-reject rate of the rank-th smallest of `count` scores.

    Exact: the share above the k-th order statistic of N follows Beta(N + 1 - k, k). It equals the
    Clopper-Pearson bound for N - k rejects seen in N parts.
    """
    assert 1 <= rank <= count, f"rank {rank} is not one of 1 to {count}"
    return float(betaincinv(count + 1 - rank, rank, confidence))


def _wanted(false_reject_rate: float) -> Fraction:
    if not 0 < false_reject_rate < 1:
        raise ConfigError(
            f"false-reject rate {false_reject_rate}: expected a share between 0 and 1, "
            "for instance 0.01 for one good part in a hundred"
        )
    return Fraction(str(float(false_reject_rate)))


def _check_finite(scores: np.ndarray) -> None:
    bad = int(np.count_nonzero(~np.isfinite(scores)))
    if bad:
        raise InputError(
            f"{bad} of {len(scores)} scores are not finite numbers, so no threshold can be fitted: "
            "the model is unusable on these images; train it again"
        )


def _too_few(count: int, false_reject_rate: float) -> str:
    text = (
        f"a false-reject rate of {false_reject_rate:g} needs at least "
        f"{parts_needed(false_reject_rate)} images of normal parts, and there are {count}. "
        "Add images of good parts"
    )
    if count < 2:
        return text
    lowest = math.ceil(1000 / (count + 1)) / 1000
    return f"{text}, or ask for a higher rate: {count} images allow {lowest:g}"
