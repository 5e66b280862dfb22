from __future__ import annotations

import numpy as np
import pytest

from training.perlin import (
    perlin_noise,
    perlin_piece,
    rotated,
    turned_perlin_piece,
    unit_range,
)


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


def test_noise_is_that_of_the_gradients_at_the_corners_of_its_cells() -> None:
    angles = np.random.default_rng(7).uniform(0.0, 2.0 * np.pi, (3 + 1, 2 + 1))

    def fade(t: float) -> float:
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    def at(y: float, x: float) -> float:
        total = 0.0
        for i in (int(y), int(y) + 1):
            for j in (int(x), int(x) + 1):
                slope = np.sin(angles[i, j]) * (y - i) + np.cos(angles[i, j]) * (x - j)
                total += fade(1 - abs(y - i)) * fade(1 - abs(x - j)) * slope
        return np.sqrt(2) * total

    noise = perlin_noise(15, 14, (3, 2), np.random.default_rng(7))

    expected = [[at(row / 5, column / 7) for column in range(14)] for row in range(15)]
    assert noise == pytest.approx(np.array(expected), abs=1e-5)


def test_a_piece_has_cells_of_the_size_asked_for() -> None:
    pieces = [perlin_piece(96, 64, (32.0, 4.0), np.random.default_rng(seed)) for seed in range(8)]

    assert all(piece.shape == (96, 64) and piece.dtype == np.float32 for piece in pieces)
    assert max(np.abs(piece).max() for piece in pieces) <= 1.0 + 1e-5
    down = np.mean([np.abs(np.diff(piece, axis=0)).mean() for piece in pieces])
    across = np.mean([np.abs(np.diff(piece, axis=1)).mean() for piece in pieces])
    assert across > 4.0 * down


def test_small_pieces_of_large_cells_are_not_always_near_a_corner() -> None:
    means = [
        perlin_piece(4, 4, (256.0, 256.0), np.random.default_rng(seed)).mean() for seed in range(40)
    ]

    assert np.std(means) > 0.15


def test_a_turned_piece_is_turned_and_filled_to_its_corners() -> None:
    flat, turned = (
        turned_perlin_piece(48, 48, (24.0, 3.0), degrees, np.random.default_rng(1))
        for degrees in (0.0, 90.0)
    )
    slanted = turned_perlin_piece(40, 80, (8.0, 8.0), 45.0, np.random.default_rng(1))

    assert np.allclose(np.rot90(flat)[:-1, 1:], turned[1:, 1:], atol=1e-3)
    assert slanted.shape == (40, 80)
    for corner in (slanted[:9, :9], slanted[:9, -9:], slanted[-9:, :9], slanted[-9:, -9:]):
        assert np.abs(corner).max() > 0.02


def test_rotation_by_a_half_turn_mirrors_both_axes_inside() -> None:
    image = np.random.default_rng(0).uniform(size=(32, 32, 1)).astype(np.float32)

    turned = rotated(image, 180.0)

    assert turned.shape == image.shape
    assert np.allclose(turned[1:, 1:], image[1:, 1:][::-1, ::-1], atol=1e-3)


def test_unit_range_spans_zero_to_one_and_maps_a_constant_to_zero() -> None:
    stretched = unit_range(np.array([[-3.0, 1.0], [5.0, 0.0]], np.float32))

    assert (stretched.min(), stretched.max()) == (0.0, 1.0)
    assert unit_range(np.full((2, 2), 7.0)).max() == 0.0
