from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from training.shapes import Box
from training.textures import (
    displaced,
    in_channels,
    in_colour,
    mean_colour,
    procedural_texture,
    shuffled,
    turned,
)

WHOLE = Box(0, 0, 64, 64)
Change = Callable[[np.ndarray, Box, np.random.Generator], np.ndarray]


@pytest.mark.parametrize("channels", [1, 3])
def test_procedural_textures_stay_in_range_and_vary(channels: int) -> None:
    textures = [
        procedural_texture((64, 48, channels), 128, np.random.default_rng(seed))
        for seed in range(12)
    ]

    for texture in textures:
        assert texture.shape == (64, 48, channels)
        assert texture.dtype == np.float32
        assert texture.min() >= -1e-3
        assert texture.max() <= 255.001
    assert min(texture.std() for texture in textures) > 0.5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", [shuffled, turned, displaced])
def test_own_pieces_change_the_image_and_leave_the_original(
    change: Change, channels: int, normals: np.ndarray
) -> None:
    image = np.repeat(normals[0].astype(np.float32), channels, axis=2)
    before = image.copy()

    changed = change(image, WHOLE, np.random.default_rng(0))

    assert changed.shape == image.shape
    assert changed.dtype == np.float32
    assert np.abs(changed - image).mean() > 1.0
    assert np.array_equal(image, before)


@pytest.mark.parametrize("change", [shuffled, turned])
def test_a_box_gets_its_piece_of_the_whole(change: Change, normals: np.ndarray) -> None:
    image, box = normals[0].astype(np.float32), Box(5, 10, 40, 64)

    whole, piece = (change(image, part, np.random.default_rng(3)) for part in (WHOLE, box))

    assert piece.shape == (35, 54, 1)
    assert np.allclose(piece, box.cut(whole), atol=0.1)


def test_a_warp_moves_every_pixel_by_a_few_pixels() -> None:
    """On a ramp the grey levels tell how far."""
    ramp = np.repeat(np.arange(128, dtype=np.float32)[None, :, None], 128, axis=0)
    box = Box(30, 40, 90, 100)

    moved = displaced(ramp, box, np.random.default_rng(1)) - box.cut(ramp)

    assert 0.5 < np.abs(moved).max() <= 10.0
    assert np.abs(np.diff(moved, axis=0)).max() < 1.0


@pytest.mark.parametrize("level", [0.0, 20.0, 235.0, 255.0])
@pytest.mark.parametrize("change", [shuffled, turned])
def test_pieces_of_dark_and_light_images_change_where_there_is_room(
    change: Change, level: float
) -> None:
    image = np.full((64, 64, 3), level, np.float32)

    for seed in range(10):
        changed = change(image, WHOLE, np.random.default_rng(seed))
        assert np.abs(changed - image).max() >= 9.0


def test_clouds_are_those_of_the_image_that_a_piece_belongs_to() -> None:
    """A piece of a large image shows less of a cloud than one of a small image."""

    def roughness(side_px: int) -> float:
        pieces = [
            procedural_texture((64, 64, 1), side_px, np.random.default_rng(seed))
            for seed in range(40)
        ]
        smooth = [p for p in pieces if np.abs(np.diff(p, axis=1)).max() < 0.3 * np.ptp(p)]
        return float(np.mean([np.abs(np.diff(p, axis=1)).mean() / np.ptp(p) for p in smooth]))

    assert roughness(64) > 1.5 * roughness(512)


def test_rows_and_fields_add_as_colours_and_shades_do() -> None:
    rng = np.random.default_rng(0)
    image, shade = rng.uniform(size=(6, 9, 3)).astype(np.float32), rng.uniform(size=(6, 9))
    colour = np.array([1.0, 2.0, 3.0])

    assert np.allclose(image + in_colour(colour, 9), image + colour)
    assert np.allclose(image * in_channels(shade, 3), image * shade[:, :, None])
    assert in_channels(shade, 1).shape == (6, 9, 1)
    assert np.allclose(mean_colour(image), image.mean(axis=(0, 1)))
