from __future__ import annotations

import numpy as np
import pytest

from stages.acquisition.simulation import PartRenderer
from training.foreground import colour_distance, find_background, foreground_mask


def plates(behind: int = 20, plate: int = 170) -> np.ndarray:
    images = np.full((6, 64, 64, 1), behind, np.uint8)
    for i in range(6):
        images[i, 16 + i % 3 : 48 + i % 3, 12:50] = plate
    return images


@pytest.mark.parametrize(("behind", "plate"), [(20, 170), (220, 90), (110, 200)])
def test_a_plate_is_told_from_a_dark_or_a_light_belt(behind: int, plate: int) -> None:
    images = plates(behind, plate)
    background = find_background(images)
    assert background is not None

    mask = foreground_mask(images[0], background)

    assert mask[32, 30] == 1.0
    assert mask[2, 2] == 0.0
    assert 32 * 38 <= mask.sum() <= 44 * 50  # the plate and a margin


def test_colour_alone_tells_a_part_from_its_belt() -> None:
    images = np.full((4, 64, 64, 3), 110, np.uint8)
    images[:, 16:48, 16:48] = (190, 110, 30)  # as bright as the belt on average

    background = find_background(images)

    assert background is not None
    assert foreground_mask(images[0], background)[32, 32] == 1.0


def test_a_moulded_cap_is_found_on_its_textured_belt() -> None:
    renderer = PartRenderer("moulded_cap", (128, 128), seed=5, defect_share=0.0)
    images = np.stack([renderer.render(i, kind=None).image for i in range(8)])
    y, x = np.mgrid[:128, :128] - 64

    background = find_background(images)

    assert background is not None
    masks = np.stack([foreground_mask(image, background) for image in images])
    assert masks[:, np.hypot(x, y) < 40].mean() > 0.98
    assert masks[:, np.hypot(x, y) > 62].mean() < 0.15


def test_a_texture_is_part_everywhere(normals: np.ndarray) -> None:
    assert find_background(normals) is None
    assert foreground_mask(normals[0], None).min() == 1.0


def test_a_part_that_reaches_over_the_border_is_part_everywhere() -> None:
    images = plates()
    images[:, 16:48, :50] = 170

    assert find_background(images) is None


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_as_far_apart_as_their_most_different_channel(channels: int) -> None:
    rng = np.random.default_rng(2)
    image, other = rng.uniform(0.0, 255.0, (2, 9, 7, channels)).astype(np.float32)

    assert np.array_equal(colour_distance(image, other), np.abs(image - other).max(axis=2))
    assert np.array_equal(
        colour_distance(image, other[0, 0]), np.abs(image - other[0, 0]).max(axis=2)
    )


def test_equal_images_of_one_grey_level_are_part_everywhere() -> None:
    assert find_background(np.full((4, 32, 32, 1), 30, np.uint8)) is None
