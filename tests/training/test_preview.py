from __future__ import annotations

from pathlib import Path

import cv2

from training.preview import write_curves


def test_curves_of_a_training_without_a_step_are_drawn(tmp_path: Path) -> None:
    log = tmp_path / "training.jsonl"
    log.write_text(
        '{"step": 0, "processes": 1}\n{"step": 0, "image_auroc": 0.5, "pixel_ap": 0.1}\n'
    )

    assert cv2.imread(str(write_curves(tmp_path, log))) is not None
