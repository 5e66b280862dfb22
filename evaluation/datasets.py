"""Labelled parts with masks: a folder in the MVTec layout, or fresh parts of the simulation.

DIR/test/good/*.png                        good parts
DIR/test/<kind>/<name>.png                 parts with a defect of this kind
DIR/ground_truth/<kind>/<name>_mask.png    where the defect is (also <name>.png)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.images import VIEW_PX, SkippedPart
from pipeline.config import Frame, SimulatedCamera
from pipeline.errors import FrameError, InputError
from stages.acquisition.simulation import DEFECT_KINDS, PartRenderer
from stages.image_files import image_files, read_image
from stages.preprocessing.prepare import prepare

GOOD = "good"


class LabelledPart(NamedTuple):
    """A part as the networks see it, with its truth.

    `image` (H, W, C) uint8; `kind` is `good` or the kind of defect; `mask` (H, W) bool of the same
    size, or None where `mask_fault` says why there is none: such a part counts in no pixel metric.
    """

    name: str
    kind: str
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    mask_fault: str = ""


@dataclass(frozen=True)
class LabelledFile:
    """One image of a data set; `masks` are the places where its mask may be, best first."""

    path: Path
    name: str
    kind: str
    masks: tuple[Path, ...]


def mvtec_files(folder: Path) -> list[LabelledFile]:
    """The test images of a folder in the MVTec layout, by kind and name.

    Raises InputError that says which layout was looked for.
    """
    test = folder / "test"
    if not test.is_dir():
        raise InputError(f"{folder}: {_wrong_layout('there is no folder test/ in it')}")
    files = [
        _labelled_file(folder, path, kind.name)
        for kind in sorted(test.iterdir())
        if kind.is_dir()
        for path in image_files(kind)
    ]
    if not files:
        raise InputError(f"{folder}: {_wrong_layout('test/<kind>/ holds no images')}")
    return files


def mvtec_parts(files: list[LabelledFile], frame: Frame) -> Iterator[LabelledPart | SkippedPart]:
    """The test images and their masks, prepared like the line's frames."""
    for file in files:
        try:
            image = read_image(file.path, frame.max_megapixels)
            prepared = prepare(image, frame, VIEW_PX).image
        except FrameError as error:
            yield SkippedPart(file.name, str(error))
            continue
        mask, fault = _mask_of(file, image.shape[:2], frame)
        yield LabelledPart(file.name, file.kind, prepared, mask, fault)


def simulated_parts(
    camera: SimulatedCamera, frame: Frame, count: int, seed: int
) -> Iterator[LabelledPart | SkippedPart]:
    """Fresh parts of the line's simulated camera: every other one defective, all kinds in turn."""
    renderer = PartRenderer(camera.product, camera.size_px, seed, defect_share=0.5)
    for sequence in range(count):
        kind = DEFECT_KINDS[sequence // 2 % len(DEFECT_KINDS)] if sequence % 2 else None
        part = renderer.render(sequence, kind=kind)
        name = f"part {sequence}"
        try:
            prepared = prepare(part.image, frame, VIEW_PX).image
        except FrameError as error:
            yield SkippedPart(name, str(error))
            continue
        yield LabelledPart(name, kind or GOOD, prepared, fit_mask(part.mask, frame))


def fit_mask(mask: NDArray[np.bool_], frame: Frame) -> NDArray[np.bool_]:
    """A mask of the whole frame, (h, w) bool, as the networks' input shows it: `input_px`.

    A pixel belongs to the defect where the defect covers half of it; of a defect so thin that it
    covers half of no pixel, the pixels that it covers most.
    """
    if frame.region is not None:
        region = frame.region
        mask = mask[region.y : region.y + region.height, region.x : region.x + region.width]
    coverage = _resized(mask.astype(np.float32), *frame.input_px)
    least = min(0.5, float(coverage.max()))
    return np.asarray((coverage >= least) & (coverage > 0))


def _resized(mask: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Like the image: sides that shrink by area averaging, then sides that grow linearly."""
    shrunk = (min(width, mask.shape[1]), min(height, mask.shape[0]))
    mask = np.asarray(cv2.resize(mask, shrunk, interpolation=cv2.INTER_AREA), np.float32)
    grown = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(grown, np.float32)


def _labelled_file(folder: Path, path: Path, kind: str) -> LabelledFile:
    truth = folder / "ground_truth" / kind
    places = (truth / f"{path.stem}_mask.png", truth / f"{path.stem}.png")
    return LabelledFile(path, path.relative_to(folder).as_posix(), kind, places)


def _mask_of(
    file: LabelledFile, size_px: tuple[int, ...], frame: Frame
) -> tuple[NDArray[np.bool_] | None, str]:
    """The mask at the networks' size, or None and why it cannot be used."""
    if file.kind == GOOD:
        return np.zeros(frame.input_px, np.bool_), ""
    found = next((place for place in file.masks if place.is_file()), None)
    if found is None:
        return None, f"no mask, looked for {file.masks[0].name}"
    try:
        mask = read_image(found, frame.max_megapixels)
    except FrameError as error:
        return None, f"mask {found.name}: {error}"
    if mask.shape[:2] != size_px:
        return None, f"mask {found.name} is {_size(mask.shape)} pixels, the image {_size(size_px)}"
    fitted = fit_mask(_marked(mask), frame)
    return (fitted, "") if fitted.any() else (None, f"mask {found.name} is empty")


def _marked(mask: NDArray[np.generic]) -> NDArray[np.bool_]:
    """True where any colour channel is not 0; an alpha channel says nothing."""
    colours = mask[..., :3] if mask.ndim == 3 else mask[..., None]
    return np.asarray((colours != 0).any(axis=2))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


def _wrong_layout(fault: str) -> str:
    return (
        f"{fault}. Expected the MVTec layout: test/good/*.png for good parts, test/<kind>/*.png "
        "for each kind of defect, and ground_truth/<kind>/<name>_mask.png for the masks"
    )
