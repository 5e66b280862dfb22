from __future__ import annotations

import numpy as np

from training.perlin import perlin_noise, rotated, unit_range


def test_noise_is_zero_on_its_lattice_and_smooth_between() -> None:
    noise = perlin_noise(64, 96, (4, 6), np.random.default_rng(0))

    assert noise.shape == (64, 96)
    assert noise.dtype == np.float32
    assert np.abs(noise[::16, ::16]).max() < 1e-6
    assert np.abs(noise).max() > 0.2
    assert np.abs(noise).max() <= 1.0 + 1e-5
    assert np.abs(np.diff(noise, axis=0)).max() < 0.3


def test_noise_repeats_for_a_seed_and_only_then() -> None:
    first = perlin_noise(32, 32, (3, 5), np.random.default_rng(1))

    assert np.array_equal(first, perlin_noise(32, 32, (3, 5), np.random.default_rng(1)))
    assert not np.allclose(first, perlin_noise(32, 32, (3, 5), np.random.default_rng(2)))


def test_rotation_by_a_half_turn_mirrors_both_axes_inside() -> None:
    image = np.random.default_rng(0).uniform(size=(32, 32, 1)).astype(np.float32)

    turned = rotated(image, 180.0)

    assert turned.shape == image.shape
    assert np.allclose(turned[1:, 1:], image[1:, 1:][::-1, ::-1], atol=1e-3)


def test_unit_range_spans_zero_to_one_and_maps_a_constant_to_zero() -> None:
    stretched = unit_range(np.array([[-3.0, 1.0], [5.0, 0.0]], np.float32))

    assert (stretched.min(), stretched.max()) == (0.0, 1.0)
    assert unit_range(np.full((2, 2), 7.0)).max() == 0.0
