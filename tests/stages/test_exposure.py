"""Exposure evened out: found where it varies, exact in both directions, the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.exposure import (
    LARGEST_GAIN,
    LEVEL,
    evened,
    exposure_gain,
    to_network_range,
    varied_exposure,
    with_gain,
    without_gain,
)


def parts(gains: np.ndarray, channels: int = 1) -> np.ndarray:
    """The same textured part at several exposures, (N, 32, 32, C) uint8."""
    rng = np.random.default_rng(5)
    part = rng.normal(100.0, 12.0, (32, 32, channels))
    return np.clip(gains[:, None, None, None] * part, 0, 255).astype(np.uint8)


def planes(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def test_a_fixed_light_is_left_alone_and_a_varying_one_is_found() -> None:
    rng = np.random.default_rng(1)
    steady = rng.uniform(0.9, 1.1, 40)
    varied = np.exp(rng.normal(0.0, 0.4, 40))
    assert not varied_exposure(parts(steady))
    assert varied_exposure(parts(varied))


@pytest.mark.parametrize("channels", [1, 3])
def test_evened_images_have_one_median(channels: int) -> None:
    images = parts(np.array([0.4, 0.8, 1.0, 1.9]), channels)
    medians = np.median(evened(images, LEVEL).reshape(4, -1), axis=1)
    assert medians == pytest.approx(np.full(4, LEVEL), abs=2.0)


def test_a_black_image_is_lifted_by_no_more_than_the_largest_gain() -> None:
    gain = exposure_gain(planes(np.full((1, 32, 32, 1), 2, np.uint8)), LEVEL)
    assert gain is not None
    assert gain.item() == LARGEST_GAIN


def test_training_and_engine_see_the_same_image() -> None:
    images = parts(np.array([0.5, 1.0, 1.7]))
    seen = to_network_range(planes(images), exposure_gain(planes(images), LEVEL))
    trained_on = to_network_range(planes(evened(images, LEVEL)), None)
    assert (seen - trained_on).abs().max() <= 2 / 255  # half a grey level and the median's half


def test_the_gain_of_an_image_does_not_depend_on_its_batch() -> None:
    images = planes(parts(np.array([0.5, 1.0, 1.7])))
    together = exposure_gain(images, LEVEL)
    assert together is not None
    alone = [exposure_gain(image[None], LEVEL) for image in images]
    assert all(
        torch.equal(one[0], many)
        for one, many in zip(alone, together, strict=True)
        if one is not None
    )


def test_without_a_level_nothing_changes() -> None:
    images = planes(parts(np.array([0.5, 1.7])))
    assert exposure_gain(images, None) is None
    x = to_network_range(images, None)
    assert x.equal(images.float() / 127.5 - 1)
    assert with_gain(x, None) is x
    assert without_gain(x, None) is x


def test_a_reconstruction_goes_to_the_cameras_exposure_and_back() -> None:
    images = planes(parts(np.array([0.5, 1.0, 1.7])))
    gain = exposure_gain(images, LEVEL)
    x = to_network_range(images, gain)
    outside = without_gain(x, gain)
    assert outside.numpy() == pytest.approx((images.float() / 127.5 - 1).numpy(), abs=1e-5)
    assert with_gain(outside, gain).numpy() == pytest.approx(x.numpy(), abs=1e-5)
