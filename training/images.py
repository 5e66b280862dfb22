"""The images of normal parts that a model is trained on: found, prepared, counted, split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import FrameError, InputError
from pipeline.messages import Reason
from stages.image_files import IMAGE_SUFFIXES, image_files, read_image

MINIMUM_IMAGES = 24
MINIMUM_SIDE_PX = 16
MAX_MEGAPIXELS = 100.0

Prepare = Callable[[np.ndarray], np.ndarray]
"""Turns a decoded frame into (H, W, C) uint8 of the network's size; FrameError if unusable."""


@dataclass(frozen=True)
class ImageSet:
    """`images` (N, H, W, C) uint8, their names, what was skipped and why, and their digest."""

    images: np.ndarray
    digest: str
    names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...] = ()


def image_set(
    images: Sequence[np.ndarray] | np.ndarray,
    names: Sequence[str],
    skipped: Sequence[tuple[str, str]] = (),
) -> ImageSet:
    """An ImageSet of equally sized (H, W, C) uint8 images; the digest covers shape and pixels."""
    stacked = np.ascontiguousarray(images)
    assert stacked.ndim == 4, f"expected (N, H, W, C), got {stacked.shape}"
    assert stacked.dtype == np.uint8, f"expected uint8, got {stacked.dtype}"
    assert len(stacked) == len(names), "one name for each image"
    digest = hashlib.sha256(repr(stacked.shape).encode())
    digest.update(stacked.data)
    return ImageSet(stacked, digest.hexdigest()[:16], tuple(names), tuple(skipped))


def load_images(
    folder: Path,
    prepare: Prepare,
    minimum: int = MINIMUM_IMAGES,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> ImageSet:
    """Every usable image in `folder` and below it, sorted by path.

    A folder in the MVTec layout gives only its `train/good`, never its test images. Raises
    InputError with counts when fewer than `minimum` images can be used.
    """
    root = normal_images_of(folder)
    images: list[np.ndarray] = []
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    for path in sorted(image_files(root)):
        name = path.relative_to(root).as_posix()
        try:
            images.append(prepare(_large_enough(read_image(path, max_megapixels))))
        except FrameError as error:
            skipped.append((name, str(error)))
            continue
        names.append(name)
    if len(images) < minimum:
        raise InputError(_too_few(root, len(images), skipped, minimum))
    return image_set(images, names, skipped)


def normal_images_of(folder: Path) -> Path:
    """The folder that holds the normal images: `train/good` of the MVTec layout, or itself.

    Raises InputError for a folder with test images but without `train/good`: they may be
    defective.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give a folder with images of normal parts")
    train_good = folder / "train" / "good"
    if train_good.is_dir():
        return train_good
    if (folder / "test").is_dir() or folder.name == "test":
        raise InputError(
            f"{folder} holds test images, which may be defective: give the folder above "
            "train/good, or one with images of normal parts only"
        )
    return folder


def split(images: ImageSet, validation_share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Training images and held-out normals, drawn by `seed`; at least 4 are held out."""
    count = len(images.images)
    held_out = min(max(4, round(count * validation_share)), count // 2)
    order = np.random.default_rng(seed).permutation(count)
    validation, training = np.sort(order[:held_out]), np.sort(order[held_out:])
    return _subset(images, training), _subset(images, validation)


def _large_enough(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    if min(height, width) < MINIMUM_SIDE_PX:
        raise FrameError(
            Reason.FRAME_SIZE,
            f"{width} x {height} pixels is too small; {MINIMUM_SIDE_PX} a side at least",
        )
    return frame


def _subset(images: ImageSet, index: np.ndarray) -> ImageSet:
    return image_set(images.images[index], [images.names[i] for i in index])


def _too_few(root: Path, usable: int, skipped: list[tuple[str, str]], minimum: int) -> str:
    text = (
        f"{root}: {usable} usable images, {len(skipped)} skipped; training needs at least "
        f"{minimum} images of normal parts ({', '.join(sorted(IMAGE_SUFFIXES))})"
    )
    if skipped:
        name, why = skipped[0]
        text += f". The first skipped: {name}: {why}"
    return text
