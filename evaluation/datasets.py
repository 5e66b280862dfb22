"""Labelled parts with masks: from a data set in a known layout, or fresh ones of the simulation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration.images import VIEW_PX, SkippedPart
from calibration.layouts.dataset import GOOD, LabelledFile
from calibration.layouts.detect import labelled_images
from evaluation.masks import fit_mask
from pipeline.config import Frame, SimulatedCamera
from pipeline.errors import FrameError
from stages.acquisition.simulation import DEFECT_KINDS, PartRenderer
from stages.image_files import read_image
from stages.preprocessing.prepare import prepare

__all__ = [
    "GOOD",
    "LabelledFile",
    "LabelledPart",
    "at_most",
    "labelled_files",
    "labelled_parts",
    "simulated_parts",
]


OUTSIDE = "{} marks nothing inside the line's region of interest"


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


def labelled_files(folder: Path) -> list[LabelledFile | SkippedPart]:
    """The test images of a data set in any known layout, by kind and name, and what it lacks.

    Raises InputError that says which layouts were looked for.
    """
    data = labelled_images(folder)
    return [*data.tests, *(SkippedPart(name, why) for name, why in data.unusable)]


def at_most(
    files: Sequence[LabelledFile | SkippedPart], count: int
) -> list[LabelledFile | SkippedPart]:
    """`count` files of each kind, spread evenly over all of its kind, and all that is unusable."""
    of_kind: dict[str, list[LabelledFile]] = {}
    for file in files:
        if isinstance(file, LabelledFile):
            of_kind.setdefault(file.kind, []).append(file)
    kept = {
        chosen[i * len(chosen) // min(count, len(chosen))].path
        for chosen in of_kind.values()
        for i in range(min(count, len(chosen)))
    }
    return [file for file in files if isinstance(file, SkippedPart) or file.path in kept]


def labelled_parts(
    files: Iterable[LabelledFile | SkippedPart], frame: Frame
) -> Iterator[LabelledPart | SkippedPart]:
    """The test images and their masks, prepared like the line's frames."""
    for file in files:
        if isinstance(file, SkippedPart):
            yield file
            continue
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
        mask = fit_mask(part.mask, frame)
        if kind is not None and not mask.any():
            yield LabelledPart(name, kind, prepared, None, OUTSIDE.format("its mask"))
            continue
        yield LabelledPart(name, kind or GOOD, prepared, mask)


def _mask_of(
    file: LabelledFile, size_px: tuple[int, ...], frame: Frame
) -> tuple[NDArray[np.bool_] | None, str]:
    """The mask at the networks' size, or None and why it cannot be used."""
    if file.kind == GOOD:
        return np.zeros(frame.input_px, np.bool_), ""
    found = next((place for place in file.masks if place.is_file()), None)
    if found is None:
        return None, f"no mask, looked for {file.masks[0].name}"
    marked, fault = _read_mask(found, size_px, frame.max_megapixels)
    if marked is None:
        return None, f"mask {found.name} {fault}"
    fitted = fit_mask(marked, frame)
    if not fitted.any():
        return None, OUTSIDE.format(f"mask {found.name}")
    return fitted, ""


def _read_mask(
    path: Path, size_px: tuple[int, ...], max_megapixels: float
) -> tuple[NDArray[np.bool_] | None, str]:
    """A mask of the image's own size, (h, w) bool, or None and what is wrong with it."""
    try:
        mask = read_image(path, max_megapixels)
    except FrameError as error:
        return None, f"cannot be used: {error}"
    if mask.shape[:2] != size_px:
        return None, f"is {_size(mask.shape)} pixels, the image {_size(size_px)}"
    marked = _marked(mask)
    return (marked, "") if marked.any() else (None, "is empty")


def _marked(mask: NDArray[np.generic]) -> NDArray[np.bool_]:
    """True where any colour channel is not 0; an alpha channel says nothing."""
    colours = mask[..., :3] if mask.ndim == 3 else mask[..., None]
    return np.asarray((colours != 0).any(axis=2))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
