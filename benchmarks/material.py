"""What a benchmark trains on and judges by: a data set, or parts of the simulated camera."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from calibration.progress import progress_bar
from evaluation.datasets import (
    GOOD,
    LabelledFile,
    labelled_files,
    labelled_parts,
)
from evaluation.datasets import simulated_parts as simulated_tests
from evaluation.evaluate import LabelledParts, collect
from pipeline.config import Frame, SimulatedCamera
from stages.acquisition.simulation import DEFECT_KINDS
from stages.preprocessing.prepare import prepare
from training.images import ImageSet, load_images
from training.parts import VIEW_PX, simulated_parts

Colour = Literal["grey", "rgb"]

CAMERA_SEED = 3
TEST_SEED = CAMERA_SEED + 5000
"""Of the parts to test with: other textures than those of the parts to train on."""
DRAWN_SCALE = 2
"""A simulated part is drawn so many times larger than the networks see it."""


@dataclass(frozen=True)
class Material:
    """Images of good parts to train on, and labelled ones to test with, prepared by `frame`."""

    frame: Frame
    training: ImageSet
    test: LabelledParts


def square_frame(colour: Colour, side_px: int) -> Frame:
    """Frames of any size, 8 bits, as a square of `side_px` for the networks."""
    return Frame(colour=colour, bit_depth=8, size_px="any", input_px=(side_px, side_px))


def from_dataset(folder: Path, frame: Frame) -> Material:
    """The good training images and the test images of a data set in a known layout.

    Raises InputError where it is none, or has too few images.
    """
    files = labelled_files(folder)
    training = load_images(
        folder,
        lambda image: prepare(image, frame, VIEW_PX).image,
        max_megapixels=frame.max_megapixels,
    )
    kinds = {file.kind for file in files if isinstance(file, LabelledFile)}
    with progress_bar(f"reading {folder.name}", len(files)) as advance:
        test = collect(labelled_parts(files, frame), kinds, f"folder {folder}", advance)
    return Material(frame, training, test)


def from_product(product: str, frame: Frame, parts: int, test_parts: int) -> Material:
    """Parts of a simulated product: `parts` good ones, of `test_parts` every other one defective.

    Raises ConfigError for an unknown product.
    """
    height, width = frame.input_px
    camera = SimulatedCamera(
        kind="simulated",
        product=product,
        size_px=(DRAWN_SCALE * height, DRAWN_SCALE * width),
        seed=CAMERA_SEED,
        defect_share=0.0,
        rate_hz=None,
    )
    training = simulated_parts(camera, frame, parts)
    kinds = {GOOD, *DEFECT_KINDS[: test_parts // 2]}
    source = f"{test_parts} simulated parts, {product}, seed {TEST_SEED}"
    with progress_bar(f"drawing {product}", test_parts) as advance:
        drawn = simulated_tests(camera, frame, test_parts, TEST_SEED)
        test = collect(drawn, kinds, source, advance)
    return Material(frame, training, test)
