"""The report folder: a page for people, its pictures, and the figures as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from evaluation.case_strips import strip
from evaluation.cases import Case, Extremes
from evaluation.compare import Details
from evaluation.datasets import GOOD
from evaluation.evaluate import image_levels_of, pixel_levels_of
from evaluation.output import FIGURES, PAGE, new_folder
from evaluation.page import KindCases, Shown, page
from evaluation.plots import histograms, image_curves, pixel_curves
from evaluation.report import as_json
from evaluation.results import Evaluation

ALL_KINDS = "all kinds"


def write_report(folder: Path, found: Evaluation, details: Details) -> None:
    """Write the report; an older one is replaced. Raises LineError where it cannot be written."""
    counts = found.bundles[0].verdicts
    threshold = None if counts is None else counts.threshold
    with new_folder(folder) as unfinished:
        plots = _write_plots(unfinished, found.kinds, details, threshold)
        cases = [
            _write_cases(unfinished, index, kind, details.extremes, threshold)
            for index, kind in enumerate([*found.kinds, GOOD])
        ]
        shown = [kind for kind in cases if kind.hardest]
        (unfinished / FIGURES).write_text(as_json(found), encoding="utf-8")
        (unfinished / PAGE).write_text(page(found, plots, shown), encoding="utf-8")


def _write_plots(
    folder: Path, kinds: Sequence[str], details: Details, threshold: float | None
) -> dict[str, str]:
    """The plots that are defined: title -> name of the file."""
    labelled, run = details.labelled, details.run
    groups = {kind: (GOOD, kind) for kind in kinds} | {ALL_KINDS: (GOOD, *kinds)}
    names = np.array([part.kind for part in labelled.parts])
    images = {name: image_levels_of(labelled, run, group) for name, group in groups.items()}
    pixels = {name: pixel_levels_of(run, group) for name, group in groups.items()}
    by_kind = {kind: run.scores[names == kind] for kind in kinds}
    figures: dict[str, tuple[str, Figure | None]] = {
        "Scores of the parts": (
            "scores.png",
            histograms(run.scores[names == GOOD], by_kind, threshold),
        ),
        "Good and defective parts told apart": ("images.png", image_curves(images)),
        "Defects found on the part": ("pixels.png", pixel_curves(pixels)),
    }
    drawn = {}
    for title, (file, figure) in figures.items():
        if figure is not None:
            figure.savefig(folder / file)
            drawn[title] = file
    return drawn


def _write_cases(
    folder: Path, index: int, kind: str, extremes: Extremes, threshold: float | None
) -> KindCases:
    """Files are named by the place of the kind, since a kind's name may be anything."""

    def shown(rank: str, cases: Sequence[Case]) -> list[Shown]:
        return [
            _write_case(folder / f"case_{index:02d}_{rank}_{place}.png", case, threshold)
            for place, case in enumerate(cases, 1)
        ]

    return KindCases(
        kind,
        hardest=shown("hardest", extremes.hardest(kind)),
        easiest=shown("easiest", extremes.easiest(kind)),
    )


def _write_case(file: Path, case: Case, threshold: float | None) -> Shown:
    _, encoded = cv2.imencode(".png", strip(case))
    file.write_bytes(encoded.tobytes())
    rejected = threshold is not None and case.score > threshold
    wrong = threshold is not None and rejected == (case.part.kind == GOOD)
    return Shown(file.name, case.part.name, case.score, wrong)
