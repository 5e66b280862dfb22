"""The images of normal parts that a model is trained on: found, prepared, counted, split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.images import constant_fault
from calibration.layouts.detect import normal_images
from pipeline.errors import FrameError, InputError
from pipeline.messages import Reason
from pipeline.names import printable
from stages.image_files import IMAGE_SUFFIXES, read_image
from training.near_copies import near_copies

MINIMUM_IMAGES = 24
MINIMUM_SIDE_PX = 16
MAX_MEGAPIXELS = 100.0
LISTED = 5

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
    return ImageSet(stacked, digest_of(stacked), tuple(names), tuple(skipped))


def digest_of(images: np.ndarray) -> str:
    """What tells contiguous images (N, H, W, C) uint8 from all others: 16 hexadecimal digits."""
    digest = hashlib.sha256(repr(images.shape).encode())
    digest.update(images.data)
    return digest.hexdigest()[:16]


def load_images(
    folder: Path,
    prepare: Prepare,
    minimum: int = MINIMUM_IMAGES,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> ImageSet:
    """Every usable image of a normal part that a folder offers, sorted by path, under the names
    that calibration knows them by.

    Of a data set in a known layout only its training images, of any other folder all in it and
    below it. Raises InputError where it holds other images than those of normal parts, where
    fewer than `minimum` can be used (with counts), and where all of them are identical.
    """
    data = normal_images(folder)
    images: list[np.ndarray] = []
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    for path in data.normals:
        name = printable(path.relative_to(data.normal_root).as_posix())
        try:
            images.append(_usable(path, prepare, max_megapixels))
        except FrameError as error:
            skipped.append((name, printable(str(error))))
            continue
        names.append(name)
    if len(images) < minimum:
        raise InputError(_too_few(data.normal_root, len(images), skipped, minimum))
    _check_variety(data.normal_root, images)
    return image_set(images, names, skipped)


def split(images: ImageSet, validation_share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Training images and held-out normals, drawn by `seed`; at least 4 are held out.

    Near-copies are held out together (`training.near_copies`), unless they would be most of what
    is held out.
    """
    count = len(images.images)
    wanted = min(max(4, round(count * validation_share)), count // 2)
    held_out = _drawn(near_copies(images.images), wanted, np.random.default_rng(seed))
    return _subset(images, np.flatnonzero(~held_out)), _subset(images, np.flatnonzero(held_out))


def _drawn(groups: np.ndarray, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """About `wanted` of (N,) images, at least half as many: in random order, each with its group.

    An image of a group that is larger than half of `wanted` counts as one without near-copies.
    """
    held_out = np.zeros(len(groups), bool)
    sizes = np.bincount(groups)
    for image in rng.permutation(len(groups)):
        group = groups == groups[image] if sizes[groups[image]] <= wanted / 2 else [image]
        together = held_out.copy()
        together[group] = True
        if together.sum() <= wanted:
            held_out = together
    return held_out


def _usable(path: Path, prepare: Prepare, max_megapixels: float) -> np.ndarray:
    """The image of a file, prepared. Raises FrameError where it cannot be used."""
    frame = read_image(path, max_megapixels)
    height, width = frame.shape[:2]
    if min(height, width) < MINIMUM_SIDE_PX:
        raise FrameError(
            Reason.FRAME_SIZE,
            f"{width} x {height} pixels is too small; {MINIMUM_SIDE_PX} a side at least",
        )
    image = prepare(frame)
    why = constant_fault(image)
    if why:
        raise FrameError(Reason.FRAME_UNREADABLE, why)
    return image


def _check_variety(root: Path, images: list[np.ndarray]) -> None:
    """Raises InputError for copies of one image: what varies between parts cannot be learnt."""
    if len(images) > 1 and all(np.array_equal(image, images[0]) for image in images[1:]):
        raise InputError(
            f"{root}: all {len(images)} usable images are identical, so there is nothing to learn "
            "of how good parts differ, nor others to validate on; give images of different parts"
        )


def _subset(images: ImageSet, index: np.ndarray) -> ImageSet:
    return image_set(images.images[index], [images.names[i] for i in index])


def _too_few(root: Path, usable: int, skipped: list[tuple[str, str]], minimum: int) -> str:
    text = (
        f"{root}: {usable} usable images, {len(skipped)} skipped; training needs at least "
        f"{minimum} images of normal parts ({', '.join(sorted(IMAGE_SUFFIXES))})"
    )
    return text + listed(skipped)


def listed(skipped: Sequence[tuple[str, str]]) -> str:
    """The first few that were skipped and why, each on a line of its own, and how many more."""
    lines = [f"\n  skipped {name}: {why}" for name, why in skipped[:LISTED]]
    more = len(skipped) - LISTED
    return "".join(lines) + (f"\n  and {more} more skipped" if more > 0 else "")
