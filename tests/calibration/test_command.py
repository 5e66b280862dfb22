from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from calibration.calibrate import QUANTILES
from calibration.command import main, report
from calibration.images import NormalImages
from calibration.record import load_active
from calibration_records import calibration_record
from pipeline.config_file import load_line, read_yaml
from stages.bundle import load_bundle


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_simulated_line_from_command_to_record(
    tiny_line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--config", tiny_line, "--parts", "20", "--false-reject-rate", "0.05") == 0
    config = load_line(tiny_line)
    bundle = load_bundle(config.model.bundle)
    record = load_active(config.calibration.folder, bundle.id, "")
    assert (record.used, record.rank) == (20, 20)
    assert record.source == "simulated moulded_cap, seed 3"
    out = capsys.readouterr().out
    assert f"{record.threshold:.6g}: a part with a higher score is a REJECT" in out
    assert "47.6 of 1000 good parts are to be expected (wanted: at most 50)" in out
    assert f"run_line --config {tiny_line}" in out
    assert "WARNING" not in out


def test_folder_with_a_broken_image(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for index in range(20):
        image = rng.integers(20, 200, (128, 128), dtype=np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    (tmp_path / "broken.png").write_bytes(b"")
    code = run(
        "--config", tiny_line, "--images", tmp_path, "--false-reject-rate", "0.05",
        "--set", f"calibration.folder={tmp_path / 'calibration'}",
    )  # fmt: skip
    assert code == 0
    out = capsys.readouterr().out
    assert f"20 images of good parts (folder {tmp_path})" in out
    assert "broken.png: " in out
    assert len(list((tmp_path / "calibration").glob("*.yaml"))) == 1


def test_too_few_images_end_with_counts_and_change_nothing(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = f"calibration.folder={tmp_path}"
    rate = ("--false-reject-rate", "0.01", "--set", folder)
    assert run("--config", tiny_line, "--parts", "98", *rate) == 2
    assert "at least 99 images" in capsys.readouterr().err
    assert run("--config", tiny_line, "--images", tmp_path, *rate) == 2
    assert "0 image files" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_no_bundle_and_a_bundle_of_other_frames(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--config", tiny_line, "--parts", "20", "--false-reject-rate", "0.05", "--set")
    assert run(*common, f"model.bundle={tmp_path}/missing") == 3
    assert "train_line" in capsys.readouterr().err
    assert run(*common, "frame.input_px=[96, 96]") == 3
    assert "input_px is [64, 64] in the bundle and [96, 96] in the line" in capsys.readouterr().err


def test_a_rate_that_is_no_share(tiny_line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--config", tiny_line, "--parts", "20", "--false-reject-rate", "5") == 2
    assert "share between 0 and 1" in capsys.readouterr().err


def test_parts_need_a_simulated_camera(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = read_yaml(tiny_line)
    data["camera"] = {"kind": "folder", "folder": str(tmp_path), "rate_hz": None}
    data["model"]["bundle"] = str(tiny_line.parent / "bundle")
    path = tmp_path / "folder_line.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert run("--config", path, "--parts", "20", "--false-reject-rate", "0.05") == 2
    assert "give --images DIR instead" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_as_a_process(tiny_line: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "calibration.command", "--config", str(tiny_line)]
    arguments = ["--parts", "20", "--false-reject-rate", "0.05", "--set"]
    done = subprocess.run(
        [*command, *arguments, f"calibration.folder={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "is calibrated on 20 images" in done.stdout
    assert "scoring (20)" in done.stderr


def test_the_lines_own_ddim_is_calibrated(tiny_line: Path, tmp_path: Path) -> None:
    found = {}
    for eta in (0.0, 0.5):
        folder = tmp_path / str(eta)
        changes = {"paradigm": "ddim", "ddim_steps": 3, "ddim_eta": eta}
        code = run(
            "--config", tiny_line, "--parts", "20", "--false-reject-rate", "0.05",
            "--set", f"calibration.folder={folder}",
            *(word for k, v in changes.items() for word in ("--set", f"reconstruction.{k}={v}")),
        )  # fmt: skip
        assert code == 0
        bundle = load_bundle(load_line(tiny_line).model.bundle)
        mode = f"ddim with ddim_steps 3, ddim_eta {eta}"
        found[eta] = load_active(folder, bundle.id, "", mode).threshold
    assert found[0.0] != found[0.5]


def test_the_lines_paradigm_is_calibrated(tiny_line: Path, tmp_path: Path) -> None:
    thresholds = set()
    for paradigm in ("norm_guided", "one_step"):
        folder = tmp_path / paradigm
        code = run(
            "--config", tiny_line, "--parts", "20", "--false-reject-rate", "0.05",
            "--set", f"reconstruction.paradigm={paradigm}",
            "--set", f"calibration.folder={folder}",
        )  # fmt: skip
        assert code == 0
        config = load_line(tiny_line, [("reconstruction.paradigm", paradigm)])
        bundle = load_bundle(config.model.bundle)
        other = config.reconstruction.other_than(bundle.manifest.paradigm)
        thresholds.add(load_active(folder, bundle.id, "", other).threshold)
    assert len(thresholds) == 2


def test_a_calibration_folder_that_cannot_be_written_is_found_before_the_work(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    folder = ("--set", f"calibration.folder={tmp_path}/file/calibration")
    common = ("--config", tiny_line, "--parts", "20", "--false-reject-rate", "0.05")
    assert run(*common, *folder) == 3
    error = capsys.readouterr().err
    assert "the calibration cannot be stored" in error
    assert "drawing" not in error


def test_a_seed_draws_parts_and_no_images_of_a_folder(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = ("--images", tmp_path, "--false-reject-rate", "0.05")
    assert run("--config", tiny_line, *images, "--seed", "1") == 2
    assert "--seed goes with --parts N" in capsys.readouterr().err


@pytest.mark.parametrize(("count", "text"), [(0, ""), (18, "others added"), (20, "these very")])
def test_images_of_the_training_are_warned_of(count: int, text: str) -> None:
    record = calibration_record(
        used=20, maybe_trained_on=count, score_quantiles=dict.fromkeys(QUANTILES, 0.1)
    )
    told = report(record, NormalImages((), (), "folder"), Path("active.yaml"), "--line 3")
    assert ("WARNING" in told) == bool(text)
    assert text in told
    assert "2 have\nnames of images" in told or count != 18
