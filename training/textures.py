"""What a synthetic defect looks like: procedural textures, and the image's own pieces.

Images are (H, W, C) float32 in grey levels [0, 255], C = 1 or 3. What is made of an image is made
for a box of it only, (h, w, C).
"""

from __future__ import annotations

import cv2
import numpy as np

from training.perlin import perlin_piece, rotated, unit_range
from training.shapes import Box

GRID = 4
SMALLEST_CELL_PX = 2.0
DARK_LEVEL, LIGHT_LEVEL = 40.0, 215.0
"""Below and above there is room in one direction only."""


def procedural_texture(
    shape: tuple[int, ...], side_px: int, rng: np.random.Generator
) -> np.ndarray:
    """A texture of `shape` (h, w, C) between two colours: clouds, stripes, grain or checker.

    Its clouds are those of an image of `side_px`, of which it is a piece.
    """
    height, width, channels = shape
    draw = (_clouds, _stripes, _grain, _checker)[int(rng.integers(4))]
    pattern = draw(height, width, side_px, rng)
    first, second = rng.uniform(0.0, 255.0, (2, channels))
    planes = [pattern * (b - a) + a for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    return np.asarray(cv2.merge(planes)).reshape(shape)


def in_colour(colour: np.ndarray, width: int) -> np.ndarray:
    """A colour (C,) as a row of pixels (1, width, C) float32: it adds to an image of that width
    several times faster than the colour itself.
    """
    return np.tile(colour.astype(np.float32), (1, width, 1))


def in_channels(field: np.ndarray, channels: int) -> np.ndarray:
    """A field (h, w) float32 as (h, w, C), to be multiplied or added as fast."""
    return np.asarray(cv2.merge([field] * channels)).reshape(*field.shape, channels)


def mean_colour(image: np.ndarray) -> np.ndarray:
    """The mean of every channel, (C,) grey levels."""
    return np.array(cv2.mean(image)[: image.shape[2]])


def direction(level: float, rng: np.random.Generator) -> float:
    """1 to get lighter or -1 to get darker, at random where there is room for both."""
    darker = level > LIGHT_LEVEL or (level > DARK_LEVEL and rng.random() < 0.5)
    return -1.0 if darker else 1.0


def shuffled(image: np.ndarray, box: Box, rng: np.random.Generator) -> np.ndarray:
    """The image cut into a grid of 4 x 4 pieces, laid anew at random, with altered contrast."""
    height, width = image.shape[0] // GRID, image.shape[1] // GRID
    result = image.copy()
    for place, piece in enumerate(rng.permutation(GRID * GRID).tolist()):
        (y, x), (from_y, from_x) = divmod(place, GRID), divmod(piece, GRID)
        result[y * height : (y + 1) * height, x * width : (x + 1) * width] = image[
            from_y * height : (from_y + 1) * height, from_x * width : (from_x + 1) * width
        ]
    return _recontrasted(box.cut(result), image, rng)


def turned(image: np.ndarray, box: Box, rng: np.random.Generator) -> np.ndarray:
    """The image rotated by a random angle, with altered contrast."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(
        (width / 2.0, height / 2.0), float(rng.uniform(20.0, 340.0)), 1.0
    )
    turn[:, 2] -= np.array((box.left, box.top))
    size = box.width, box.height
    piece = cv2.warpAffine(
        image, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return _recontrasted(np.asarray(piece).reshape(*size[::-1], -1), image, rng)


def worn(piece: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A piece of an image with its detail smoothed away or deepened, and grainy now and then."""
    sigmas = np.exp(rng.uniform(0.0, np.log(8.0), 2)).tolist()
    smooth = np.asarray(cv2.GaussianBlur(piece, (0, 0), sigmas[0], sigmaY=sigmas[1]))
    smooth = smooth.reshape(piece.shape)
    gain = 0.0 if rng.random() < 0.5 else rng.uniform(2.0, 5.0)
    changed = smooth + np.float32(gain) * (piece - smooth) + np.float32(rng.normal(0.0, 6.0))
    if rng.random() < 0.3:
        changed += _spread(piece.shape, rng.uniform(5.0, 25.0), rng)
    return np.asarray(changed, dtype=np.float32)


def grainy(piece: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The rough ground of a fracture in place of a piece of an image, lighter or darker."""
    grain = _grain(piece.shape[0], piece.shape[1], 0, rng) - 0.5
    spread = grain * (rng.uniform(15.0, 50.0) / max(float(grain.std()), 1e-6))
    colour = mean_colour(piece) + rng.uniform(-80.0, 60.0)
    rough = in_channels(spread, piece.shape[2]) + in_colour(colour, piece.shape[1])
    return np.asarray(rough, dtype=np.float32)


def displaced(image: np.ndarray, box: Box, rng: np.random.Generator) -> np.ndarray:
    """The image moved by a smooth field of up to some pixels: a local warp once it is masked."""
    cell_px = image.shape[0] / 4, image.shape[1] / 4
    reach = rng.uniform(3.0, 10.0)
    dx, dy = (reach * perlin_piece(box.height, box.width, cell_px, rng) for _ in range(2))
    x = np.arange(box.left, box.right, dtype=np.float32)[None, :] + dx
    y = np.arange(box.top, box.bottom, dtype=np.float32)[:, None] + dy
    moved = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved).reshape(*x.shape, -1)


def _recontrasted(piece: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`piece` with its contrast to the mean of `image` scaled, and visibly lighter or darker."""
    mean, gain = mean_colour(image), rng.uniform(0.4, 1.8)
    shift = direction(float(mean.mean()), rng) * rng.uniform(10.0, 70.0)
    changed = piece * np.float32(gain) + in_colour(mean * (1.0 - gain) + shift, piece.shape[1])
    return np.asarray(np.clip(changed, 0.0, 255.0), dtype=np.float32)


def _spread(shape: tuple[int, ...], levels: float, rng: np.random.Generator) -> np.ndarray:
    """White noise of a standard deviation in grey levels, the same in all channels, (h, w, C)."""
    noise = rng.standard_normal(shape[:2], dtype=np.float32) * np.float32(levels)
    return in_channels(noise, shape[2])


def _clouds(height: int, width: int, side_px: int, rng: np.random.Generator) -> np.ndarray:
    field = np.zeros((height, width), np.float32)
    for octave in range(int(rng.integers(1, 4))):
        cell_px = max(side_px / 2 ** (octave + int(rng.integers(1, 4))), SMALLEST_CELL_PX)
        field += perlin_piece(height, width, (cell_px, cell_px), rng) / 2**octave
    return unit_range(field)


def _stripes(height: int, width: int, _: int, rng: np.random.Generator) -> np.ndarray:
    angle, period = rng.uniform(0.0, np.pi), rng.uniform(3.0, 24.0)
    phase = np.float32(rng.uniform(0.0, 2.0 * np.pi))
    y = np.arange(height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    x = np.arange(width, dtype=np.float32)[None, :] * np.float32(np.cos(angle))
    wave = np.sin((y + x) * np.float32(2.0 * np.pi / period) + phase)
    return np.asarray(0.5 + 0.5 * np.clip(wave * rng.uniform(1.0, 6.0), -1.0, 1.0), np.float32)


def _grain(height: int, width: int, _: int, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal((height, width), dtype=np.float32)
    sigma_x, sigma_y = rng.uniform(0.4, 3.0, 2)
    return unit_range(cv2.GaussianBlur(noise, (0, 0), sigma_x, sigmaY=sigma_y))


def _checker(height: int, width: int, _: int, rng: np.random.Generator) -> np.ndarray:
    side = int(rng.integers(3, 20))
    y = np.arange(height)[:, None] // side
    x = np.arange(width)[None, :] // side
    return rotated(((y + x) % 2).astype(np.float32), float(rng.uniform(0.0, 90.0)))
