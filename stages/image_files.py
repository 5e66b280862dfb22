"""Image files on disk: found in natural order, checked before they are decoded, read whole."""

from __future__ import annotations

import os
import re
import struct
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from PIL import Image

from pipeline.errors import FrameError, InputError
from pipeline.messages import Reason

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
MASK_FOLDER = "ground_truth"
"""Folder name of the MVTec layout that holds masks of defects instead of pictures of parts."""

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
# What Pillow raises on damaged bytes, depending on the format and on the place of the damage.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error)

# `read_image` checks the size itself, against the line's limit, before it decodes anything.
Image.MAX_IMAGE_PIXELS = None


def image_files(folder: Path) -> list[Path]:
    """Image files in `folder` and below in natural order: part_2 comes before part_10.

    Links to folders are followed, each folder is read once. Hidden files and folders, and those
    of masks (`ground_truth`), are left out. Raises InputError where there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give a folder with image files")
    found = (path for path in _visible_files(folder) if path.suffix.lower() in IMAGE_SUFFIXES)
    wanted = (path.relative_to(folder) for path in found if path.is_file())
    return [folder / path for path in sorted(wanted, key=_natural_key)]


def read_image(path: Path, max_megapixels: float) -> np.ndarray:
    """A file as (H, W), (H, W, 3) BGR or (H, W, 4) BGRA, uint8 or uint16, as it is stored.

    The size is checked before decoding. Raises FrameError: FRAME_UNREADABLE (missing, empty,
    truncated, no image), FRAME_SIZE (more than `max_megapixels`) or FRAME_DEPTH (float samples).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of damage that is an error here anyway
        data = _checked_bytes(path, max_megapixels)
        _check_complete(data)
    return _decoded(data)


def _checked_bytes(path: Path, max_megapixels: float) -> bytes:
    try:
        with path.open("rb") as file:
            _check_header(file, max_megapixels)
            file.seek(0)
            return file.read()
    except OSError as error:
        raise _unreadable(f"cannot be read: {error.strerror or error}") from error


def _visible_files(folder: Path) -> Iterator[Path]:
    """Files in a folder and below, but hidden ones and masks.

    Links come after all folders, so that a folder with a link beside it keeps its own name; one
    that leads back to a folder above is a loop and is not followed.
    """
    seen = {str(above) for above in folder.resolve().parents}
    tops = [folder]
    for top in tops:
        for place, folders, files in os.walk(top):
            real = os.path.realpath(place)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            yield from (Path(place, name) for name in files if name[0] != ".")
            folders[:] = sorted(name for name in folders if name[0] != "." and name != MASK_FOLDER)
            # The walk does not go into links: they wait for their turn as tops of their own.
            tops += [Path(place, name) for name in folders if Path(place, name).is_symlink()]


def _natural_key(path: Path) -> tuple[tuple[tuple[str | int, ...], ...], str]:
    """Digits compare as numbers; names that differ only in case or zeros keep a fixed order."""
    parts = tuple(
        tuple(int(token) if index % 2 else token for index, token in enumerate(tokens))
        for tokens in (re.split(r"([0-9]+)", name.casefold()) for name in path.parts)
    )
    return parts, path.as_posix()


def _check_header(file: IO[bytes], max_megapixels: float) -> None:
    if not file.read(1):
        raise _unreadable("the file is empty")
    file.seek(0)
    try:
        with Image.open(file, formats=_FORMATS) as image:
            width, height = image.size
    except _DAMAGE as error:
        raise _unreadable("not a PNG, JPEG, BMP or TIFF image, or its header is damaged") from error
    if width * height > max_megapixels * 1e6:
        raise FrameError(
            Reason.FRAME_SIZE,
            f"{width} x {height} pixels is more than max_megapixels {max_megapixels:g} allows",
        )


def _check_complete(data: bytes) -> None:
    """Look for the end of the data: some decoders fill what is missing with grey.

    A PNG is checked by its checksums, a JPEG is decoded at an eighth of its size.
    """
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            if image.format == "PNG":
                image.verify()
            else:
                image.draft("L", (1, 1))
                image.load()
    except _DAMAGE as error:
        raise _unreadable(f"truncated or damaged: {error}") from error


def _decoded(data: bytes) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _unreadable(f"cannot be decoded: {error.err}") from error
    if image is None:
        raise _unreadable("truncated or damaged: cannot be decoded")
    if image.dtype not in (np.uint8, np.uint16):
        raise FrameError(
            Reason.FRAME_DEPTH, f"samples are {image.dtype}; expected 8 or 16 bit integers"
        )
    return np.asarray(image)


def _unreadable(text: str) -> FrameError:
    return FrameError(Reason.FRAME_UNREADABLE, text)
