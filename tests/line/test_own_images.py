"""The README's commands on a folder of images in the MVTec layout, of many sizes, as a user types
them: train, calibrate, run, evaluate. The training is far too short to be good; everything else is
as it will be.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.acquisition.simulation import PartRenderer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]


def write_dataset(folder: Path) -> None:
    """70 good parts to train on; 6 good and 6 stained ones to test, with masks; sizes differ."""
    renderer = PartRenderer("woven_fabric", (256, 256), seed=5, defect_share=0.0)
    sizes = np.random.default_rng(0).integers(180, 256, (100, 2))

    def save(name: str, image: np.ndarray, number: int) -> None:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        height, width = sizes[number]
        cv2.imwrite(str(file), image[:height, :width])

    for number in range(70):
        save(f"train/good/{number:03d}.png", renderer.render(number, kind=None).image, number)
    for number in range(70, 76):
        save(f"test/good/{number}.png", renderer.render(number, kind=None).image, number)
    for number in range(76, 82):
        part = renderer.render(number, kind="stain")
        save(f"test/stain/{number}.png", part.image, number)
        save(f"ground_truth/stain/{number}_mask.png", part.mask.astype(np.uint8) * 255, number)


def test_the_three_commands_and_the_evaluation(line, plc, verify, run_cli, tmp_path):
    images = tmp_path / "images"
    write_dataset(images)
    own = [
        "--set",
        f"model.bundle={tmp_path / 'bundle'}",
        "--set",
        f"calibration.folder={tmp_path / 'calibration'}",
    ]
    number = ["--config", str(ROOT / "configs" / "line_1.yaml"), *own]

    trained = run_cli(["-m", "training.command", *number, "--images", str(images), "--steps", "6"])
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "bundle.training" / "preview.png").exists()

    command = ["-m", "calibration.command", *number, "--images", str(images)]
    too_few = run_cli([*command, "--false-reject-rate", "0.01"])
    assert too_few.returncode == 2
    assert "99" in too_few.stderr
    calibrated = run_cli([*command, "--false-reject-rate", "0.1"])
    assert calibrated.returncode == 0, calibrated.stderr
    assert "held out" in calibrated.stdout

    topic = "mqtt.topic_root=demo/plant-1/finishing/line-3/inspection"
    line.start(
        *own, "--set", topic, "--images", str(images), config=ROOT / "configs" / "line_1.yaml"
    )
    assert line.wait() == 0
    records = verify(line, plc)
    assert len(records) == 82, "masks are not parts"
    assert line.summary["truth"] is not None
    assert line.summary["truth"]["defective"] == 6

    result = tmp_path / "evaluation.json"
    evaluated = run_cli(
        ["-m", "evaluation.command", *number, "--dataset", str(images), "--json", str(result)]
    )
    assert evaluated.returncode == 0, evaluated.stderr
    figures = json.loads(result.read_text())["norm_guided"]
    for key in ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "pro_30", "pro_5"):
        assert 0 <= figures["overall"][key] <= 1
        assert 0 <= figures["per_type"]["stain"][key] <= 1
    assert figures["overall"]["images_per_second"] > 0
