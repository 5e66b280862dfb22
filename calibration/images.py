"""Images of normal parts to calibrate on: from a folder, or from the line's simulated camera."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration.layouts.detect import normal_images
from pipeline.config import Frame, SimulatedCamera
from pipeline.errors import FrameError, InputError
from pipeline.names import printable
from stages.acquisition.simulation import PartRenderer
from stages.image_files import read_image
from stages.preprocessing.prepare import prepare

VIEW_PX = 64
"""Side of the view that preparation gives along, and that nobody looks at here."""

FIRST_SEQUENCE = 1_000_000_000
"""Drawn parts are numbered from here on: the camera of a running line never gets that far."""

Advance = Callable[[int], None]
"""Told how many more parts are done."""


class PreparedPart(NamedTuple):
    """A part as the networks see it: `image` (H, W, C) uint8."""

    name: str
    image: NDArray[np.uint8]


class SkippedPart(NamedTuple):
    """A part that could not be prepared, and why."""

    name: str
    why: str


Parts = Iterable[PreparedPart | SkippedPart]


@dataclass(frozen=True)
class NormalImages:
    """Prepared images of normal parts, what was skipped, and where they came from.

    `digest` covers their number, shape and pixels; it is the digest that a training on the same
    images writes into its bundle.
    """

    parts: tuple[PreparedPart, ...]
    skipped: tuple[SkippedPart, ...]
    source: str

    def only(self, names: Collection[str]) -> NormalImages:
        """The parts of these names alone, as when a training held them out."""
        kept = tuple(part for part in self.parts if part.name in names)
        source = f"{self.source}, the {len(kept)} of {len(self.parts)} held out of the training"
        return NormalImages(kept, self.skipped, source)

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 over shape and pixels, in the order of the parts."""
        shape = (len(self.parts), *self.parts[0].image.shape) if self.parts else (0,)
        digest = hashlib.sha256(repr(shape).encode())
        for part in self.parts:
            digest.update(np.ascontiguousarray(part.image).data)
        return digest.hexdigest()[:16]


def normal_files(folder: Path) -> tuple[Path, list[Path]]:
    """The folder that the images of normal parts are named relative to, and these, sorted.

    Raises InputError like `normal_images`, and where there is no image.
    """
    data = normal_images(folder)
    if not data.normals:
        raise InputError(
            f"{data.normal_root}: 0 image files; give a folder with images of good parts"
        )
    return data.normal_root, list(data.normals)


def folder_parts(
    root: Path, files: Iterable[Path], frame: Frame
) -> Iterator[PreparedPart | SkippedPart]:
    """The image files, prepared like the line's frames; named relative to `root`, printably."""
    for file in files:
        name = printable(file.relative_to(root).as_posix())
        try:
            image = prepare(read_image(file, frame.max_megapixels), frame, VIEW_PX).image
        except FrameError as error:
            yield SkippedPart(name, printable(str(error)))
            continue
        why = constant_fault(image)
        yield SkippedPart(name, why) if why else PreparedPart(name, image)


def constant_fault(image: NDArray[np.uint8]) -> str:
    """Why a prepared image, (H, W, C) uint8, shows no part: all its pixels are equal; else empty.

    Training and calibration leave the same images out, so that their digests agree.
    """
    if (image != image[:1, :1]).any():
        return ""
    return "all pixels are equal, so it shows no part; check the camera or the file"


def simulated_parts(
    camera: SimulatedCamera, frame: Frame, count: int, seed: int
) -> Iterator[PreparedPart | SkippedPart]:
    """Good parts of the simulated camera that the running line never shows."""
    renderer = PartRenderer(camera.product, camera.size_px, seed, defect_share=0.0)
    for sequence in range(FIRST_SEQUENCE, FIRST_SEQUENCE + count):
        name = f"part {sequence}"
        try:
            image = renderer.render(sequence, kind=None).image
            yield PreparedPart(name, prepare(image, frame, VIEW_PX).image)
        except FrameError as error:
            yield SkippedPart(name, str(error))


def collect(parts: Parts, source: str, advance: Advance) -> NormalImages:
    """All parts, the prepared ones and the skipped ones apart."""
    prepared: list[PreparedPart] = []
    skipped: list[SkippedPart] = []
    for part in parts:
        if isinstance(part, PreparedPart):
            prepared.append(part)
        else:
            skipped.append(part)
        advance(1)
    return NormalImages(tuple(prepared), tuple(skipped), source)
