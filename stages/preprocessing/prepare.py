"""The core of preprocessing: from the camera's frame to what networks and people see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

import cv2
import numpy as np

from pipeline.config import Frame
from pipeline.errors import FrameError
from pipeline.messages import Reason

SMALLEST_SIDE_PX = 16
BLACK_SHARE = 0.99
PREPARATION_VERSION = 1
"""Raised whenever the same frame and settings would give other pixels than before."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """`image`: (H, W, C) uint8 of the networks' size. `view`: (h, w, C) uint8 in true proportions.

    Both are RGB (C = 3) or grey (C = 1), as the line is set up.
    """

    image: np.ndarray
    view: np.ndarray


def prepare(image: np.ndarray, frame: Frame, view_px: int) -> Prepared:
    """Check a frame, cut out the region of interest, and bring it to 8 bits and to size.

    `image`: (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, uint8 or uint16. The view's
    longest side is at most `view_px`. Raises FrameError: FRAME_SIZE, FRAME_DEPTH, FRAME_BLACK or
    FRAME_SATURATED, the last two judged within the region of interest.
    """
    check_frame(image, frame)
    region = _cut(image, frame)
    _check_light(region, frame)
    colours = _to_colour(_to_8_bit(region, frame.bit_depth), frame.colour)
    return Prepared(_resized(colours, *frame.input_px), _view(colours, view_px))


def check_frame(image: np.ndarray, frame: Frame) -> None:
    """Whether a frame has the channels, size and depth that the line expects, whatever its light.

    Raises FrameError: FRAME_SIZE or FRAME_DEPTH.
    """
    _check_layout(image)
    _check_size(image, frame)
    _check_depth(image, frame.bit_depth)


def preparation_settings(frame: Frame) -> dict[str, str | int | list[int] | None]:
    """What of a line's settings decides the networks' input: a model holds only for the same."""
    box = frame.region
    return {
        "version": PREPARATION_VERSION,
        "colour": frame.colour,
        "bit_depth": frame.bit_depth,
        "region": None if box is None else [box.x, box.y, box.width, box.height],
        "input_px": list(frame.input_px),
    }


def _check_layout(image: np.ndarray) -> None:
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4)):
        return
    _refuse(
        Reason.FRAME_DEPTH,
        f"a frame of shape {image.shape} has neither 1, 3 nor 4 channels",
    )


def _check_size(image: np.ndarray, frame: Frame) -> None:
    height, width = image.shape[:2]
    size = f"{width} x {height} pixels"
    if min(height, width) < SMALLEST_SIDE_PX:
        _refuse(Reason.FRAME_SIZE, f"{size}: a side has fewer than {SMALLEST_SIDE_PX} pixels")
    if height * width > frame.max_megapixels * 1e6:
        _refuse(Reason.FRAME_SIZE, f"{size}: more than max_megapixels {frame.max_megapixels:g}")
    if frame.size_px not in ("any", (height, width)):
        expected = f"{frame.size_px[1]} x {frame.size_px[0]}"
        _refuse(Reason.FRAME_SIZE, f"{size}: the line expects {expected}")
    region = frame.region
    if region and (region.x + region.width > width or region.y + region.height > height):
        _refuse(Reason.FRAME_SIZE, f"{size}: the region of interest lies outside")


def _check_depth(image: np.ndarray, bit_depth: int) -> None:
    expected = np.uint8 if bit_depth == 8 else np.uint16
    if image.dtype != expected:
        _refuse(
            Reason.FRAME_DEPTH,
            f"{image.dtype} samples: a line of {bit_depth} bits expects {np.dtype(expected)}",
        )
    if 8 < bit_depth < 16 and int(image.max()) > _full_scale(bit_depth):
        _refuse(
            Reason.FRAME_DEPTH,
            f"a sample of {int(image.max())} needs more than the line's {bit_depth} bits",
        )


def _cut(image: np.ndarray, frame: Frame) -> np.ndarray:
    """The region of interest (h, w, C), without an alpha channel."""
    channels = np.atleast_3d(image)[:, :, :3]
    region = frame.region
    if region is None:
        return channels
    rows = slice(region.y, region.y + region.height)
    return channels[rows, region.x : region.x + region.width]


def _check_light(region: np.ndarray, frame: Frame) -> None:
    """The 99th percentile lies below a level exactly when 99 % of the pixels do.

    A pixel is within two levels by all of its channels, so the share of the pixels is at most that
    of the samples, which is counted faster and nearly always settles it.
    """
    full = _full_scale(frame.bit_depth)
    darkest = math.ceil(frame.black_below * full / 255) - 1
    samples = region.reshape(len(region), -1)
    if _share_within(samples, 0, darkest) >= BLACK_SHARE:
        dark = _share_within(region, 0, darkest)
        if dark >= BLACK_SHARE:
            _refuse(
                Reason.FRAME_BLACK,
                f"{dark:.1%} of the pixels lie below black_below {frame.black_below:g}; "
                "check the light",
            )
    if _share_within(samples, full, full) <= frame.saturated_above:
        return
    bright = _share_within(region, full, full)
    if bright > frame.saturated_above:
        _refuse(
            Reason.FRAME_SATURATED,
            f"{bright:.1%} of the pixels are at full scale, more than saturated_above "
            f"{frame.saturated_above:g}; check light and exposure",
        )


def _share_within(region: np.ndarray, lowest: int, highest: int) -> float:
    """Share of the pixels (h, w, C) all of whose channels lie between two levels, inclusive; (h, w)
    are pixels of one channel.
    """
    within = cv2.inRange(region, (lowest,) * 4, (highest,) * 4)
    return cv2.countNonZero(within) / within.size


def _to_8_bit(image: np.ndarray, bit_depth: int) -> np.ndarray:
    if bit_depth == 8:
        return image
    return np.atleast_3d(cv2.convertScaleAbs(image, alpha=255 / _full_scale(bit_depth)))


def _to_colour(image: np.ndarray, colour: str) -> np.ndarray:
    """(h, w, 1 or 3) BGR to (h, w, 1) grey or (h, w, 3) RGB, contiguous."""
    is_grey = image.shape[2] == 1
    if colour == "grey":
        converted = image if is_grey else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    else:
        converted = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if is_grey else cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(np.atleast_3d(converted))


def _view(image: np.ndarray, view_px: int) -> np.ndarray:
    height, width = image.shape[:2]
    scale = min(1.0, view_px / max(height, width))
    return _resized(image, max(1, round(height * scale)), max(1, round(width * scale)))


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """To (height, width): sides that shrink by area averaging, then sides that grow linearly."""
    small = min(height, image.shape[0]), min(width, image.shape[1])
    shrunk = _scaled(image, *small, cv2.INTER_AREA)
    return _scaled(shrunk, height, width, cv2.INTER_LINEAR)


def _scaled(image: np.ndarray, height: int, width: int, interpolation: int) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    return np.atleast_3d(cv2.resize(image, (width, height), interpolation=interpolation))


def _full_scale(bit_depth: int) -> int:
    return int(2**bit_depth - 1)


def _refuse(reason: Reason, text: str) -> NoReturn:
    raise FrameError(reason, text)


def view_of_refused(image: np.ndarray, view_px: int) -> np.ndarray:
    """What can be shown of a frame that was refused: (h, w, 1) uint8, or (0, 0, 1) if nothing can.

    The longest side is at most `view_px`; 16-bit samples are shown by their upper 8 bits, colour
    by its first channel.
    """
    plane = image[..., 0] if image.ndim == 3 else image
    if plane.ndim != 2 or plane.size == 0:
        return np.zeros((0, 0, 1), np.uint8)
    step = max(1, math.ceil(max(plane.shape) / view_px))
    shown = plane[::step, ::step]
    shown = (shown >> 8).astype(np.uint8) if shown.dtype == np.uint16 else shown
    return np.ascontiguousarray(shown)[..., None]
