"""The folder of texture images that anomalies are painted with, held in memory to a bound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import FrameError, InputError
from stages.image_files import image_files, read_image
from training.images import MAX_MEGAPIXELS, digest_of, listed

MOST_TEXTURES = 512
"""Enough for variety; of 512 x 512 pixels in colour they take 400 MB."""


@dataclass(frozen=True)
class TextureBank:
    """`images` (N, H, W, C) uint8 of `found` files; what was `skipped`, and why."""

    images: np.ndarray
    found: int
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def digest(self) -> str:
        """What tells these images from others, whatever their folder is called."""
        return digest_of(self.images)

    @property
    def summary(self) -> str:
        """What a person should know of it, in lines."""
        count = len(self.images)
        text = f"{count} texture{'s' if count > 1 else ''} to paint with"
        unread = self.found - len(self.skipped) - count
        if unread:
            text += f", drawn from the {self.found} of the folder: as many as are kept in memory"
        return text + listed(self.skipped)


def load_textures(
    folder: Path, size: tuple[int, int, int], seed: int, most: int = MOST_TEXTURES
) -> TextureBank:
    """The texture images of a folder and below, brought to `size` (height, width, channels).

    Of more than `most` files that many, drawn evenly by `seed`. Unreadable ones are skipped, with
    another in their place. Raises InputError where none can be read.
    """
    paths = image_files(folder)
    if len(paths) > most:
        paths = [paths[i] for i in np.random.default_rng(seed).permutation(len(paths))]
    images = np.empty((min(len(paths), most), *size), np.uint8)
    count, skipped = 0, []
    for path in paths:
        if count == len(images):
            break
        try:
            images[count] = _texture(path, size)
        except FrameError as error:
            skipped.append((path.relative_to(folder).as_posix(), str(error)))
            continue
        count += 1
    if count == 0:
        raise InputError(
            f"{folder} holds no readable texture image: check the folder's path{listed(skipped)}"
        )
    return TextureBank(images[:count], len(paths), tuple(skipped))


def _texture(path: Path, size: tuple[int, int, int]) -> np.ndarray:
    """An image file, (H, W, C) uint8 grey or RGB. Raises FrameError where it is damaged."""
    image = read_image(path, MAX_MEGAPIXELS)
    height, width, channels = size
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    stored = 1 if image.ndim == 2 else image.shape[2]
    code = _CONVERSIONS[stored, channels]
    if code is not None:
        image = cv2.cvtColor(image, code)
    sized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(sized).reshape(size)


_CONVERSIONS = {
    (1, 1): None,
    (1, 3): cv2.COLOR_GRAY2RGB,
    (3, 1): cv2.COLOR_BGR2GRAY,
    (3, 3): cv2.COLOR_BGR2RGB,
    (4, 1): cv2.COLOR_BGRA2GRAY,
    (4, 3): cv2.COLOR_BGRA2RGB,
}
"""By the channels that are stored and those that are wanted."""
