from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from training.appearances import Place
from training.pieces import background_shown, duplicated, smoothed_over
from training.shapes import Box
from training.textures import in_channels

BOX = Box(40, 40, 72, 72)


def place(image: np.ndarray, foreground: np.ndarray | None = None, box: Box = BOX) -> Place:
    """A box of an (H, W, C) image, all of it but a margin of 6 px the region."""
    if foreground is None:
        foreground = np.ones(image.shape[:2], np.float32)
    region = np.zeros((box.height, box.width), np.float32)
    region[6:-6, 6:-6] = 1.0
    region *= box.cut(foreground)
    return Place(image, foreground, box, region, in_channels(region, image.shape[2]))


def surface(channels: int, sigma: float = 2.0, side: int = 128) -> np.ndarray:
    """A light surface with the noise of a camera."""
    noise = np.random.default_rng(1).standard_normal((side, side, channels))
    return np.round(180 + sigma * noise).astype(np.float32)


def marked(channels: int) -> np.ndarray:
    """The same with dark marks of 10 px on both its sides, and none in the middle."""
    image = surface(channels)
    for y, x in product(range(4, 128, 20), (4, 24, 84, 104)):
        image[y : y + 10, x : x + 10] = 60 + y
    return image


def on_belt(channels: int) -> tuple[np.ndarray, np.ndarray]:
    """A light part on a dark belt with a grain of its own, and where the part is, 3 px wider."""
    grain = np.random.default_rng(2).standard_normal((128, 128, channels))
    image = np.round(30 + 3 * grain).astype(np.float32)
    image[32:96, 32:96] = surface(channels)[32:96, 32:96]
    foreground = np.zeros((128, 128), np.float32)
    foreground[29:99, 29:99] = 1.0
    return image, foreground


def is_copied(image: np.ndarray, piece: np.ndarray) -> bool:
    """Whether (h, w) levels occur in an image (H, W) just so."""
    windows = np.lib.stride_tricks.sliding_window_view(image, piece.shape)
    return bool((windows == piece).all(axis=(2, 3)).any())


@pytest.mark.parametrize("channels", [1, 3])
def test_a_duplicate_is_another_place_as_it_is(channels: int) -> None:
    image, seen = marked(channels), 0
    for seed in range(20):
        piece = duplicated(place(image), np.random.default_rng(seed))[..., 0]
        dark = np.argwhere(piece[8:-8, 8:-8] < 130) + 8
        if not len(dark):
            continue
        (top, left), (bottom, right) = dark.min(axis=0), dark.max(axis=0) + 1
        seen += 1
        assert is_copied(image[..., 0], piece[top:bottom, left:right])
    assert seen >= 8


def test_only_what_stands_out_is_duplicated() -> None:
    """A mark comes without the noise of the surface beside it."""
    image = marked(1)
    for seed in range(20):
        piece = duplicated(place(image), np.random.default_rng(seed))
        kept = np.isclose(piece, BOX.cut(image)).mean()
        assert kept == 1.0 or 0.1 < kept < 0.95


@pytest.mark.parametrize("sigma", [2.0, 8.0, 25.0])
@pytest.mark.parametrize("kind", [duplicated, background_shown, smoothed_over])
def test_grain_is_neither_duplicated_nor_missed(kind, sigma: float) -> None:  # type: ignore[no-untyped-def]
    image = surface(3, sigma)
    for seed in range(20):
        piece = kind(place(image), np.random.default_rng(seed))
        assert np.array_equal(piece, BOX.cut(image))


def test_a_duplicate_comes_from_the_part() -> None:
    image, foreground = on_belt(1)
    at = place(image, foreground, Box(60, 60, 80, 80))
    for seed in range(20):
        dark = duplicated(at, np.random.default_rng(seed)) < 100
        assert dark.mean() < 0.2  # from the margin of the foreground


@pytest.mark.parametrize("channels", [1, 3])
def test_through_a_hole_one_sees_the_belt(channels: int) -> None:
    image, foreground = on_belt(channels)
    at = place(image, foreground, Box(50, 50, 66, 66))

    hole = background_shown(at, np.random.default_rng(0))[6:-6, 6:-6]

    assert is_copied(image[..., 0], hole[..., 0])
    assert hole.max() < 50


def test_a_hole_larger_than_the_belt_shows_a_piece_of_it_several_times() -> None:
    image, foreground = on_belt(1)
    at = place(image, foreground, Box(34, 34, 94, 94))

    hole = background_shown(at, np.random.default_rng(0))[8:-8, 8:-8]

    assert hole.max() < 50
    assert 2.0 < hole.std() < 4.0


def test_a_corner_that_broke_off_leaves_the_belt_beside_it_as_it_was() -> None:
    image, foreground = on_belt(1)
    box = Box(20, 20, 50, 50)

    corner = background_shown(place(image, foreground, box), np.random.default_rng(0))

    beside = corner != box.cut(image)
    assert corner[12:-6, 12:-6].max() < 50
    assert not beside[:11].any()
    assert not beside[:, :11].any()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [background_shown, smoothed_over])
def test_without_a_background_the_surface_goes_on_where_a_mark_was(kind, channels: int) -> None:  # type: ignore[no-untyped-def]
    ramp = np.linspace(-20, 20, 128, dtype=np.float32)[:, None, None]
    plain = surface(channels) + ramp
    image = plain.copy()
    image[50:62, 50:62] = 60

    piece = kind(place(image), np.random.default_rng(0))

    assert piece.shape == (32, 32, channels)
    assert np.abs(piece - BOX.cut(plain)).max() < 20
    assert np.abs(piece - BOX.cut(plain)).mean() < 2.5
    inside = piece[12:20, 12:20, 0] - BOX.cut(image * 0 + ramp)[12:20, 12:20, 0]
    assert 1.0 < inside.std() < 4.0  # the grain of the surface


def test_a_part_that_fills_the_box_has_nothing_to_continue() -> None:
    image = marked(1)
    box = Box(0, 0, 128, 128)
    whole = np.ones((128, 128), np.float32)
    at = Place(image, whole, box, whole, in_channels(whole, 1))

    assert np.array_equal(smoothed_over(at, np.random.default_rng(0)), image)
    assert np.array_equal(duplicated(at, np.random.default_rng(0)), image)
