"""What lies between a part and its image: a lens, a sensor, a file.

A defect that was painted has been through none of it. It is sharper than the camera could show it,
without the sensor's noise and the blocks of a compressed file, and a network that trains for long
learns to tell paint by that, better and better, while it finds real defects less and less well. So
images go through a little more of all three after they were painted, the good ones too.
"""

from __future__ import annotations

import cv2
import numpy as np

BLUR_PX = (0.3, 0.9)
"""Standard deviation of the blur."""
NOISE_LEVELS = (0.5, 4.0)
"""Standard deviation of the noise, in grey levels."""
JPEG_QUALITY = (60, 95)


def through_optics(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W, C) float32 grey levels [0, 255] -> the same, whole levels: blurred, noisy and
    compressed, each with a chance of one half.
    """
    out = image
    if rng.random() < 0.5:
        out = _of_shape(cv2.GaussianBlur(out, (0, 0), rng.uniform(*BLUR_PX)), image)
    if rng.random() < 0.5:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        out = out + np.float32(rng.uniform(*NOISE_LEVELS)) * noise
    out = np.clip(np.rint(out), 0.0, 255.0)
    return _compressed(out, int(rng.integers(*JPEG_QUALITY))) if rng.random() < 0.5 else out


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    settings = (cv2.IMWRITE_JPEG_QUALITY, quality)
    _, code = cv2.imencode(".jpg", image.astype(np.uint8), settings)
    decoded = cv2.imdecode(code, cv2.IMREAD_UNCHANGED)
    assert decoded is not None, "whole grey levels in one or three channels can be compressed"
    return _of_shape(decoded, image)


def _of_shape(image: np.ndarray, like: np.ndarray) -> np.ndarray:
    """OpenCV drops a single channel."""
    return image.reshape(like.shape).astype(np.float32)
