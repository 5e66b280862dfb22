from __future__ import annotations

import cv2
import numpy as np

from training.near_copies import near_copies


def textures(count: int, side: int = 128, channels: int = 1) -> np.ndarray:
    """(count, side, side, channels) uint8: parts of one design, each with a grain of its own."""
    rng = np.random.default_rng(3)
    design = cv2.GaussianBlur(rng.standard_normal((side, side)), (0, 0), 3) * 200
    grain = [cv2.GaussianBlur(rng.standard_normal((side, side)), (0, 0), 2) for _ in range(count)]
    levels = 110 + design + 80 * np.stack(grain)
    return np.repeat(np.clip(levels, 0, 255).astype(np.uint8)[..., None], channels, axis=3)


def at_exposure(images: np.ndarray, gain: float) -> np.ndarray:
    noise = np.random.default_rng(4).normal(0, 2, images.shape)
    return np.clip(images * gain + noise, 0, 255).astype(np.uint8)


def test_parts_of_one_design_are_no_near_copies() -> None:
    assert near_copies(textures(20)).tolist() == list(range(20))


def test_one_part_at_several_exposures_is_one_group() -> None:
    parts = textures(12, channels=3)
    images = np.concatenate([parts, at_exposure(parts, 0.6), at_exposure(parts, 1.3)])

    assert near_copies(images).tolist() == list(range(12)) * 3


def test_copies_of_copies_are_linked() -> None:
    rng = np.random.default_rng(5)
    grain = [cv2.GaussianBlur(rng.standard_normal((128, 128)), (0, 0), 2) for _ in range(26)]
    chain = [sum(grain[i : i + 3]) for i in range(4)]  # neighbours share two of three, ends nothing
    images = np.stack([*grain[6:], *chain])
    images = np.clip(128 + 300 * images, 0, 255).astype(np.uint8)[..., None]

    groups = near_copies(images)
    assert len(set(groups[:20])) == 20
    assert len(set(groups[20:])) == 1


def test_pictures_of_nothing_are_no_copies() -> None:
    flat = np.full((5, 32, 32, 1), 90, np.uint8)

    assert near_copies(flat).tolist() == [0, 1, 2, 3, 4]
