from __future__ import annotations

import numpy as np

from training.foreground import background_level, foreground_mask


def plates(dark: int = 20, light: int = 170) -> np.ndarray:
    images = np.full((6, 64, 64, 1), dark, np.uint8)
    for i in range(6):
        images[i, 16 + i % 3 : 48 + i % 3, 12:50] = light
    return images


def test_a_plate_on_a_dark_belt_is_told_from_the_belt() -> None:
    images = plates()
    level = background_level(images)
    assert level is not None

    mask = foreground_mask(images[0], level)

    assert mask[32, 30] == 1.0
    assert mask[2, 2] == 0.0
    assert 32 * 38 <= mask.sum() <= 44 * 50  # the plate and a margin


def test_a_texture_is_part_everywhere(normals: np.ndarray) -> None:
    assert background_level(normals) is None
    assert foreground_mask(normals[0], None).min() == 1.0


def test_a_light_background_is_not_taken_for_an_empty_one() -> None:
    assert background_level(plates(dark=110, light=200)) is None


def test_equal_images_of_one_grey_level_are_part_everywhere() -> None:
    assert background_level(np.full((4, 32, 32, 1), 30, np.uint8)) is None
