"""Which labelled parts a command asks for: of a data set, or of the line's simulated camera."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration.images import SkippedPart
from calibration.progress import progress_bar
from evaluation.datasets import (
    GOOD,
    LabelledFile,
    LabelledPart,
    at_most,
    labelled_files,
    labelled_parts,
    simulated_parts,
)
from evaluation.evaluate import LabelledParts, collect
from pipeline.command_line import drawing_camera
from pipeline.config import Frame, LineConfig
from stages.acquisition.simulation import DEFECT_KINDS

SEED_OFFSET = 5000
"""Added to the camera's seed: the parts are those of no line, training or calibration."""


@dataclass(frozen=True)
class EvaluationParts:
    """Labelled parts to come, how many, of which kinds, and where from."""

    parts: Iterator[LabelledPart | SkippedPart]
    count: int
    kinds: frozenset[str]
    source: str


def dataset_parts(folder: Path, frame: Frame, most: int | None) -> EvaluationParts:
    """The test images of a data set, at most so many of each kind. Raises InputError."""
    return file_parts(labelled_files(folder), f"folder {folder}", frame, most)


def file_parts(
    files: Sequence[LabelledFile | SkippedPart], source: str, frame: Frame, most: int | None
) -> EvaluationParts:
    """The images of these files, at most so many of each kind."""
    if most is not None:
        files, source = at_most(files, most), f"{source}, at most {most} images of each kind"
    kinds = frozenset(file.kind for file in files if isinstance(file, LabelledFile))
    return EvaluationParts(labelled_parts(files, frame), len(files), kinds, source)


def drawn_parts(config: LineConfig, count: int, seed: int | None, option: str) -> EvaluationParts:
    """Parts of the line's simulated camera, by `seed` or one of their own.

    Raises ConfigError, naming `option` instead, where the camera is another one.
    """
    camera = drawing_camera(config, option)
    seed = camera.seed + SEED_OFFSET if seed is None else seed
    parts = simulated_parts(camera, config.frame, count, seed)
    kinds = frozenset({GOOD, *DEFECT_KINDS[: count // 2]})
    source = f"{count} simulated parts, {camera.product}, seed {seed}"
    return EvaluationParts(parts, count, kinds, source)


def read_parts(wanted: EvaluationParts) -> LabelledParts:
    """All of them, read once. Raises InputError where none can be used."""
    with progress_bar("reading", wanted.count) as advance:
        return collect(wanted.parts, wanted.kinds, wanted.source, advance)
