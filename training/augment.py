"""Random views of the normal images: crops with the whole image mixed in, turned, mirrored, lit."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.foreground import find_background, foreground_mask
from training.settings import TrainingSettings


@dataclass(frozen=True)
class Views:
    """`normals` (B, h, w, C) uint8, `foregrounds` (B, h, w) float32; `whole`: not crops."""

    normals: np.ndarray
    foregrounds: np.ndarray
    whole: bool


class ViewSource:
    """Draws training views of (N, H, W, C) uint8 images; randomness comes from the caller."""

    def __init__(self, images: np.ndarray, settings: TrainingSettings) -> None:
        self._images = images
        self._settings = settings
        self.background = find_background(images)

    def draw(self, rng: np.random.Generator) -> Views:
        """One batch: whole images in `whole_share` of the draws, else crops."""
        height, width = self._images.shape[1:3]
        crop, count = self._settings.crop_px, self._settings.batch_size
        if crop >= min(height, width):
            return self._views(count, height, width, rng)
        if rng.random() < self._settings.whole_share:
            fitting = round(count * crop * crop / (height * width))
            return self._views(max(1, fitting), height, width, rng)
        return self._views(count, crop, crop, rng)

    def draw_whole(self, rng: np.random.Generator, count: int) -> Views:
        """`count` whole images."""
        height, width = self._images.shape[1:3]
        return self._views(count, height, width, rng)

    def _views(self, count: int, height: int, width: int, rng: np.random.Generator) -> Views:
        full = self._images.shape[1:3]
        normals = np.stack([self._view(height, width, rng) for _ in range(count)])
        masks = np.stack([foreground_mask(view, self.background) for view in normals])
        return Views(normals, masks, (height, width) == full)

    def _view(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        settings = self._settings
        image = self._images[int(rng.integers(len(self._images)))]
        y = int(rng.integers(image.shape[0] - height + 1))
        x = int(rng.integers(image.shape[1] - width + 1))
        if rng.random() < settings.warp_share:
            view = _warped(image, (y, x, height, width), settings, rng)
        else:
            view = image[y : y + height, x : x + width]
        if settings.flip_horizontal and rng.random() < 0.5:
            view = view[:, ::-1]
        if settings.flip_vertical and rng.random() < 0.5:
            view = view[::-1]
        return _brightened(view, settings.brightness_jitter, rng)


def _warped(
    image: np.ndarray,
    window: tuple[int, int, int, int],
    settings: TrainingSettings,
    rng: np.random.Generator,
) -> np.ndarray:
    """A window (y, x, height, width) of an (H, W, C) image that is turned and stretched about the
    window's middle; beyond its border the image is mirrored.
    """
    y, x, height, width = window
    turn = np.deg2rad(settings.turn_deg * rng.uniform(-1.0, 1.0))
    zoom = 1.0 + settings.zoom_jitter * rng.uniform(-1.0, 1.0, 2)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    to_image = rotation / zoom
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = np.array([x, y]) + middle - to_image @ middle
    view = cv2.warpAffine(
        image,
        np.column_stack([to_image, shift]),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return view.reshape(height, width, image.shape[2])


def _brightened(view: np.ndarray, jitter: float, rng: np.random.Generator) -> np.ndarray:
    gain = 1.0 + jitter * rng.uniform(-1.0, 1.0)
    offset = 128.0 * jitter * rng.uniform(-1.0, 1.0)
    levels = view.astype(np.float32) * np.float32(gain) + np.float32(offset)
    return np.clip(np.round(levels), 0.0, 255.0).astype(np.uint8)
