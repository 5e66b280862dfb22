from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from evaluation.cases import Extremes
from evaluation.compare import Details
from evaluation.datasets import GOOD, LabelledPart
from evaluation.evaluate import LabelledParts, Run
from evaluation.metrics import pixel_levels
from evaluation.report_folder import write_report

KIND = "<uneven>"


@pytest.fixture
def details() -> Details:
    """Twelve parts, every other one with a defect that the scores and maps tell, but for one."""
    rng = np.random.default_rng(0)
    parts, scores, pixels, extremes = [], [], {}, Extremes(2)
    for index in range(12):
        kind = KIND if index % 2 else GOOD
        mask = np.zeros((32, 32), bool)
        mask[4:12, 4:12] = kind == KIND
        image = rng.integers(0, 255, (32, 32, 3), np.uint8)
        part = LabelledPart(f"test/{kind}/{index}.png", kind, image, mask)
        score = 0.02 if index == 1 else 0.01 + 0.001 * index + 0.5 * (kind == KIND)
        anomaly_map = (mask * 0.5 + rng.random((32, 32)) * 0.2).astype(np.float16)
        extremes.see(part, score, anomaly_map, image.astype(np.float32) / 127.5 - 1)
        levels = pixel_levels([anomaly_map], [mask])
        pixels[kind] = pixels[kind] + levels if kind in pixels else levels
        parts.append(part)
        scores.append(score)
    labelled = LabelledParts(tuple(parts), (), (GOOD, KIND), "parts")
    return Details(labelled, Run(np.array(scores), pixels, 20.0), extremes)


def test_a_report_has_a_page_its_pictures_and_the_figures(
    details: Details, make_evaluation, tmp_path: Path
) -> None:
    folder = tmp_path / "report"
    write_report(folder, make_evaluation(), details)
    names = {entry.name for entry in folder.iterdir()}
    plots = {"scores.png", "images.png", "pixels.png"}
    cases = {
        f"case_{kind:02d}_{rank}_{place}.png"
        for kind in (0, 1)
        for rank in ("hardest", "easiest")
        for place in (1, 2)
    }
    assert names == {"report.html", "evaluation.json"} | plots | cases
    for name in plots | cases:
        picture = cv2.imread(str(folder / name))
        assert picture is not None
        assert picture.std() > 1, f"{name} shows something"
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert all(f'src="{name}"' in text for name in plots | cases)
    assert text.count("wrong verdict") == 1, "only part 1 is below the threshold of 0.031"
    assert "paradigms" in json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))


def test_a_report_replaces_the_older_one(details: Details, make_evaluation, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write_report(folder, make_evaluation(), details)
    alone = Details(details.labelled, details.run, Extremes(0))
    write_report(folder, make_evaluation(counts=None), alone)
    assert not list(folder.glob("case_*"))
    assert "no calibration yet" in (folder / "report.html").read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [folder]
