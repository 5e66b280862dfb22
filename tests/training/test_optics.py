from __future__ import annotations

import cv2
import numpy as np
import pytest

from training.optics import through_optics
from training.synthesis import Synthesizer


def edge(channels: int = 1) -> np.ndarray:
    """A dark and a light half, no noise."""
    image = np.full((64, 64, channels), 60.0, np.float32)
    image[:, 32:] = 180.0
    return image


@pytest.mark.parametrize("channels", [1, 3])
def test_it_stays_an_image_of_whole_grey_levels(channels: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        seen = through_optics(edge(channels), rng)
        assert (seen.shape, seen.dtype) == ((64, 64, channels), np.float32)
        assert seen.min() >= 0.0
        assert seen.max() <= 255.0
        np.testing.assert_array_equal(seen, np.rint(seen))


def test_it_is_blurred_noisy_and_compressed_but_the_same_part() -> None:
    rng = np.random.default_rng(1)
    seen = np.stack([through_optics(edge(), rng) for _ in range(60)])

    away = np.abs(seen - edge())
    assert away.mean() < 4.0
    flat = seen[:, 8:56, 4:24].std(axis=(1, 2, 3))
    assert (flat > 1.0).mean() == pytest.approx(0.4, abs=0.2)  # noise, in half of the images
    steepest = np.abs(np.diff(seen, axis=2)).max(axis=(1, 2, 3))
    assert (steepest < 100.0).mean() == pytest.approx(0.5, abs=0.25)  # the edge was 120 levels


def test_the_same_generator_gives_the_same_image_and_the_part_is_left_alone() -> None:
    image = cv2.GaussianBlur(edge(3), (0, 0), 2.0)
    before = image.copy()
    one, other = (through_optics(image, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(image, before)


def test_masks_say_what_was_painted_and_not_what_the_optics_changed() -> None:
    normals = np.repeat(edge(3).astype(np.uint8)[None], 6, axis=0)
    everywhere = np.ones(normals.shape[:3], np.float32)
    plain, seen = (
        Synthesizer(optics_share=share).batch(
            normals, everywhere, np.random.default_rng(3), whole=False
        )
        for share in (0.0, 1.0)
    )

    assert plain.masks.equal(seen.masks)
    assert plain.labels.equal(seen.labels)
    changed = (plain.images != seen.images).flatten(1).any(dim=1)
    assert changed.sum() >= 4  # an image escapes all three with a chance of one in eight
    assert changed[:3].any(), "good images go through it too"
