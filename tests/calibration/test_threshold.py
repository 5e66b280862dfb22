from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from calibration.threshold import drawing_threshold, false_reject_bound, fit_threshold, parts_needed
from pipeline.errors import ConfigError, InputError


def test_ninety_nine_scores_just_allow_one_in_a_hundred() -> None:
    fit = fit_threshold(np.arange(1.0, 100.0), 0.01)
    assert (fit.threshold, fit.rank, fit.count) == (99.0, 99, 99)
    assert fit.expected_false_reject_rate == pytest.approx(0.01)
    assert fit.upper_bound == pytest.approx(1 - 0.05 ** (1 / 99))


def test_the_order_of_the_scores_does_not_matter() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 200.0))
    fit = fit_threshold(scores, 0.05)
    assert (fit.threshold, fit.rank) == (190.0, 190)
    assert fit.expected_false_reject_rate == pytest.approx(0.05)


@pytest.mark.parametrize("extra", [0, 1, 2, 10, 101, 900])
@pytest.mark.parametrize("rate", [0.5, 0.3, 0.1, 0.05, 0.01, 0.001])
def test_rank_is_the_smallest_that_keeps_the_rate(extra: int, rate: float) -> None:
    count = parts_needed(rate) + extra
    fit = fit_threshold(np.arange(count, dtype=np.float64), rate)
    slack = 1e-12
    assert (count + 1 - fit.rank) / (count + 1) <= rate + slack
    assert fit.rank == 1 or (count + 2 - fit.rank) / (count + 1) > rate + slack


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 99), (0.05, 19), (0.001, 999), (0.3, 3)])
def test_too_few_scores_say_how_many_are_needed(rate: float, needed: int) -> None:
    assert parts_needed(rate) == needed
    fit_threshold(np.arange(needed, dtype=np.float64), rate)
    with pytest.raises(InputError, match=rf"at least {needed} images .* there are {needed - 1}"):
        fit_threshold(np.arange(needed - 1, dtype=np.float64), rate)


def test_too_few_scores_name_a_rate_that_would_do() -> None:
    with pytest.raises(InputError, match=r"50 images allow 0\.02"):
        fit_threshold(np.arange(50.0), 0.01)
    assert fit_threshold(np.arange(50.0), 0.02).rank == 50


def test_no_scores_at_all() -> None:
    with pytest.raises(InputError, match="there are 0"):
        fit_threshold(np.zeros(0), 0.01)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_an_error(bad: float) -> None:
    scores = np.append(np.arange(200.0), bad)
    with pytest.raises(InputError, match="1 of 201 scores are not finite"):
        fit_threshold(scores, 0.01)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_a_rate_that_is_no_share_is_an_error(rate: float) -> None:
    with pytest.raises(ConfigError, match="share between 0 and 1"):
        fit_threshold(np.arange(200.0), rate)


def test_tied_scores_reject_no_more_than_promised() -> None:
    scores = np.repeat([0.1, 0.2, 0.9], [50, 45, 5])
    fit = fit_threshold(scores, 0.1)
    assert fit.threshold == 0.2
    assert np.mean(scores > fit.threshold) <= 0.1
    assert fit_threshold(np.full(99, 0.5), 0.01).threshold == 0.5


@pytest.mark.parametrize(("rank", "count"), [(99, 99), (95, 100), (1, 1), (1, 40), (990, 1000)])
def test_bound_is_that_of_clopper_and_pearson(rank: int, count: int) -> None:
    bound = false_reject_bound(rank, count)
    assert bound == pytest.approx(stats.beta.ppf(0.95, count - rank + 1, rank))
    test = stats.binomtest(count - rank, count, alternative="less")
    assert bound == pytest.approx(test.proportion_ci(0.95, method="exact").high)
    # By definition: at this rate, so few rejects in the sample have a probability of 5 %.
    assert stats.binom.cdf(count - rank, count, bound) == pytest.approx(0.05)


@pytest.mark.parametrize(("count", "rate"), [(99, 0.01), (150, 0.02), (40, 0.1)])
def test_realised_rate_of_fresh_parts_is_at_most_the_wanted_one(count: int, rate: float) -> None:
    """Over many calibrations of lines with skewed scores, and the bound holds 95 times in 100."""
    rng = np.random.default_rng(7)
    repetitions = 4000
    realised, bounded = np.zeros(repetitions), np.zeros(repetitions, bool)
    for index in range(repetitions):
        fit = fit_threshold(rng.lognormal(sigma=2.0, size=count), rate)
        realised[index] = stats.norm.sf(math.log(fit.threshold) / 2.0)
        bounded[index] = realised[index] <= fit.upper_bound
    standard_error = realised.std() / math.sqrt(repetitions)
    assert realised.mean() <= rate + 3 * standard_error
    assert realised.mean() == pytest.approx(fit.expected_false_reject_rate, rel=0.06)
    assert bounded.mean() == pytest.approx(0.95, abs=0.011)


def test_realised_rate_with_ties_is_at_most_the_wanted_one() -> None:
    rng = np.random.default_rng(8)
    rates = []
    for _ in range(2000):
        fit = fit_threshold(rng.poisson(3.0, size=60).astype(np.float64), 0.05)
        rates.append(stats.poisson.sf(fit.threshold, 3.0))
    assert np.mean(rates) <= 0.05


def test_every_rejected_part_has_a_pixel_to_draw() -> None:
    rng = np.random.default_rng(3)
    for threshold in rng.random(200) ** 4 + 1e-6:
        highest = np.nextafter(np.float32(threshold), np.float32(2))
        pixels = np.full(50, highest, np.float32).astype(np.float16)
        assert pixels.max() > drawing_threshold(float(threshold))


@pytest.mark.parametrize(
    ("threshold", "pixel_threshold"), [(0.9, 0.5), (0.5, 0.49975586), (0.25, 0.24987793), (0, 0)]
)
def test_pixels_are_drawn_from_just_below_the_threshold(
    threshold: float, pixel_threshold: float
) -> None:
    assert drawing_threshold(threshold) == pytest.approx(pixel_threshold)
