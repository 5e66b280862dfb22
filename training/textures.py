"""What a synthetic defect looks like: procedural textures, and the image's own pieces.

Images are (H, W, C) float32 in grey levels [0, 255], C = 1 or 3.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import InputError
from stages.image_files import image_files
from training.perlin import perlin_noise, rotated, unit_range


def procedural_texture(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A texture of `shape` (H, W, C) between two colours: clouds, stripes, grain or checker."""
    height, width, channels = shape
    pattern = (_clouds, _stripes, _grain, _checker)[int(rng.integers(4))](height, width, rng)
    first, second = rng.uniform(0.0, 255.0, (2, channels)).astype(np.float32)
    return np.asarray(first + pattern[:, :, None] * (second - first), dtype=np.float32)


def shuffled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image cut into a grid of 4 x 4 pieces, laid anew at random, with altered contrast."""
    height, width = image.shape[0] // 4, image.shape[1] // 4
    result = image.copy()
    for place, piece in enumerate(rng.permutation(16)):
        y, x, from_y, from_x = place // 4, place % 4, piece // 4, piece % 4
        result[y * height : (y + 1) * height, x * width : (x + 1) * width] = image[
            from_y * height : (from_y + 1) * height, from_x * width : (from_x + 1) * width
        ]
    return recontrasted(result, rng)


def turned(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image rotated by a random angle, with altered contrast."""
    return recontrasted(rotated(image, float(rng.uniform(20.0, 340.0))), rng)


def displaced(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image moved by a smooth field of up to some pixels: a local warp once it is masked."""
    height, width = image.shape[:2]
    reach = rng.uniform(3.0, 10.0)
    fields = [reach * perlin_noise(height, width, (4, 4), rng) for _ in range(2)]
    x = np.arange(width, dtype=np.float32)[None, :] + fields[0]
    y = np.arange(height, dtype=np.float32)[:, None] + fields[1]
    moved = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved).reshape(image.shape)


def recontrasted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`image` with its contrast scaled and its brightness moved by a visible amount."""
    mean = image.mean(axis=(0, 1), keepdims=True)
    shift = rng.choice([-1.0, 1.0]) * rng.uniform(10.0, 70.0)
    changed = (image - mean) * rng.uniform(0.4, 1.8) + mean + shift
    return np.asarray(np.clip(changed, 0.0, 255.0), dtype=np.float32)


def load_textures(folder: Path, height: int, width: int, channels: int) -> np.ndarray:
    """A folder of texture images as (N, height, width, channels) uint8; InputError if none."""
    mode = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    textures = []
    for path in image_files(folder):
        image = cv2.imread(str(path), mode)
        if image is not None:
            sized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            textures.append(sized.reshape(height, width, channels))
    if not textures:
        raise InputError(f"{folder} holds no readable texture image: check the folder's path")
    return np.stack(textures)


def _clouds(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    field = np.zeros((height, width), np.float32)
    for octave in range(int(rng.integers(1, 4))):
        cells = 2 ** (octave + int(rng.integers(1, 4)))
        field += perlin_noise(height, width, (cells, cells), rng) / 2**octave
    return unit_range(field)


def _stripes(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    angle, period = rng.uniform(0.0, np.pi), rng.uniform(3.0, 24.0)
    y = np.arange(height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    x = np.arange(width, dtype=np.float32)[None, :] * np.float32(np.cos(angle))
    wave = np.sin((y + x) * np.float32(2.0 * np.pi / period))
    return np.asarray(0.5 + 0.5 * np.clip(wave * rng.uniform(1.0, 6.0), -1.0, 1.0), np.float32)


def _grain(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal((height, width), dtype=np.float32)
    sigma_x, sigma_y = rng.uniform(0.4, 3.0, 2)
    return unit_range(cv2.GaussianBlur(noise, (0, 0), sigma_x, sigmaY=sigma_y))


def _checker(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    side = int(rng.integers(3, 20))
    y = np.arange(height)[:, None] // side
    x = np.arange(width)[None, :] // side
    return rotated(((y + x) % 2).astype(np.float32), float(rng.uniform(0.0, 90.0)))
