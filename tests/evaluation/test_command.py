from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.command import main as calibrate
from evaluation.command import main


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_simulated_parts_before_and_after_calibration(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.json"
    line = ["--config", str(tiny_line), "--set", f"calibration.folder={tmp_path}/calibration"]
    assert run(*line, "--parts", "24", "--json", file) == 0
    assert "No verdicts" in capsys.readouterr().out
    assert json.loads(file.read_text())["verdicts"] is None
    with pytest.raises(SystemExit):
        calibrate([*line, "--parts", "20", "--false-reject-rate", "0.05"])
    assert run(*line, "--parts", "24", "--json", file) == 0
    content = json.loads(file.read_text())
    assert (content["verdicts"]["defective"], content["verdicts"]["good"]) == (12, 12)
    found = content["norm_guided"]
    assert len(found["per_type"]) == 6
    assert all(0 <= found["overall"][key] <= 1 for key in ("image_auroc", "pixel_ap", "pro_30"))
    assert "escapes of 12 defective parts" in capsys.readouterr().out


def write_part(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(20, 200, (128, 128), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)


def test_a_folder_in_the_mvtec_layout(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(4):
        write_part(tmp_path / f"test/good/{index}.png", index)
        write_part(tmp_path / f"test/scratch/{index}.png", 10 + index)
    (tmp_path / "test/scratch/broken.png").write_bytes(b"")
    assert run("--config", tiny_line, "--dataset", tmp_path) == 0
    out = capsys.readouterr().out
    assert "4 + 4" in out
    assert "1 images that could not be used:" in out
    assert "test/scratch/broken.png: " in out
    assert "test/scratch/0.png: no mask, looked for 0_mask.png" in out


def test_mistakes_end_with_their_exit_code(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--config", tiny_line, "--dataset", tmp_path) == 2
    assert "Expected the MVTec layout" in capsys.readouterr().err
    assert run("--config", tiny_line, "--parts", "2", "--bundle", tmp_path / "missing") == 3
    assert "train_line" in capsys.readouterr().err
    assert run("--config", tiny_line, "--parts", "2", "--json", tmp_path) == 2
    assert "not a file in a folder that exists" in capsys.readouterr().err
    (tmp_path / "test/good").mkdir(parents=True)
    (tmp_path / "test/good/0.png").write_bytes(b"no image")
    assert run("--config", tiny_line, "--dataset", tmp_path) == 2
    assert "none of 1 images can be used; the first, test/good/0.png" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_as_a_process(tiny_line: Path) -> None:
    command = [sys.executable, "-m", "evaluation.command", "--config", str(tiny_line)]
    done = subprocess.run(
        [*command, "--parts", "12"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "norm_guided" in done.stdout
    assert "evaluating: 12 images" in done.stderr
