from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from calibration.images import SkippedPart
from evaluation.compare import Candidate
from evaluation.datasets import LabelledPart
from evaluation.evaluate import LabelledParts
from pipeline.config_file import load_line
from stages.bundle import Bundle, save_bundle
from stages.inspector import Inspection
from training.export.gate import BATCH_SIZES, check_export, export_refusal, show_export
from training.export.runtime import OnnxInspector


@pytest.fixture
def labelled(images: np.ndarray) -> LabelledParts:
    parts = tuple(
        LabelledPart(f"{index}", "good" if index < 3 else "dent", image, None)
        for index, image in enumerate(images)
    )
    skipped: tuple[SkippedPart, ...] = ()
    return LabelledParts(parts, skipped, ("dent", "good"), "5 parts [made up]")


@pytest.fixture
def candidate(lively: Bundle, tiny_line: Path, tmp_path: Path) -> Candidate:
    config = load_line(tiny_line, [("calibration.folder", str(tmp_path / "calibration"))])
    return Candidate(config, lively)


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.near_threshold.PAIRS", 2)
    monkeypatch.setattr("evaluation.parity_gate.THREADS", (1,))


def test_without_a_calibration_the_median_score_is_the_threshold(
    exported: Path, candidate: Candidate, labelled: LabelledParts
) -> None:
    found = check_export("onnxruntime", OnnxInspector(exported), candidate, labelled)
    assert found.refused == ()
    assert [one.batch_size for one in found.deviations] == list(BATCH_SIZES)
    assert found.parts == 5
    assert found.blends >= 5
    assert found.reference.threshold == np.median(found.reference.scores[:5])
    assert "calibrate_line" in found.threshold_from
    text = io.StringIO()
    show_export(found, Console(file=text, width=80))
    assert "on 5 parts [made up]" in text.getvalue()
    assert text.getvalue().count("onnxruntime") == 1 + len(BATCH_SIZES)
    assert "…" not in text.getvalue()


class WrongMaps(OnnxInspector):
    """The scores of the file, and maps of something else."""

    def inspect(self, images: np.ndarray) -> Inspection:
        found = super().inspect(images)
        return found._replace(anomaly_maps=np.ones_like(found.anomaly_maps))


def test_maps_of_something_else_are_refused(
    exported: Path, candidate: Candidate, labelled: LabelledParts
) -> None:
    found = check_export("onnxruntime", WrongMaps(exported), candidate, labelled)
    assert len(found.refused) == len(BATCH_SIZES)
    assert not any(deviation.refused for deviation in found.deviations)
    assert "a pixel of a map differs by up to" in export_refusal(found)


@pytest.mark.parametrize(("threshold", "stands_in"), [(1.5, True), (-1.0, True), (None, False)])
def test_a_threshold_with_all_parts_on_one_side_is_not_what_is_judged_by(
    exported: Path,
    candidate: Candidate,
    labelled: LabelledParts,
    monkeypatch: pytest.MonkeyPatch,
    threshold: float | None,
    stands_in: bool,
) -> None:
    scores = OnnxInspector(exported).inspect(np.stack([p.image for p in labelled.parts])).scores
    calibrated = float(np.sort(scores)[1:3].mean()) if threshold is None else threshold
    active = SimpleNamespace(threshold=calibrated, id="c1")
    monkeypatch.setattr("training.export.gate.load_line_calibration", lambda *_: active)

    found = check_export("onnxruntime", OnnxInspector(exported), candidate, labelled)

    assert ("on one side" in found.threshold_from) == stands_in
    assert (found.reference.threshold == calibrated) != stands_in
    assert found.blends > 0
    assert found.refused == ()


def test_a_file_of_another_bundle_is_refused_with_its_figures(
    exported: Path, candidate: Candidate, labelled: LabelledParts, tmp_path: Path
) -> None:
    without_surface = save_bundle(
        tmp_path / "other", candidate.bundle.manifest, *candidate.bundle.networks()
    )
    other = replace(candidate, bundle=without_surface)
    found = check_export("onnxruntime", OnnxInspector(exported), other, labelled)
    assert len(found.refused) == len(BATCH_SIZES)
    why = export_refusal(found)
    assert why.startswith("onnxruntime is refused in 3 of the batch sizes and threads tried")
    assert "times what is allowed" in why
    assert "the file was deleted" in why
