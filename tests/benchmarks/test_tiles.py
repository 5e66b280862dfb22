"""The sequence that makes the bundle of the magnetic tiles, on a small data set like theirs."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from calibration.command import main as calibrate
from evaluation.command import main as evaluate
from stages.bundle import load_bundle
from training.command import main as train

ROOT = Path(__file__).resolve().parents[2]
LINE = ROOT / "benchmarks" / "magnetic_tile.yaml"


def make(*arguments: str) -> str:
    program = shutil.which("make")
    if program is None:
        pytest.skip("make is not installed")
    done = subprocess.run(
        [program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def end_of(command: Callable[[list[str]], None], *arguments: str | Path) -> object:
    with pytest.raises(SystemExit) as ended:
        command([str(argument) for argument in arguments])
    return ended.value.code


def test_without_the_data_set_it_says_so_and_changes_nothing(tmp_path: Path) -> None:
    shown = make("tiles", f"DATASET={tmp_path}/missing")
    assert "skipped" in shown
    assert f"{tmp_path}/missing" in shown
    assert "train_line" not in shown


def test_with_the_data_set_it_trains_calibrates_and_evaluates(dataset: Path) -> None:
    shown = make("-n", "tiles", f"DATASET={dataset}", "MINUTES=7", "PARADIGMS=ddim one_step")
    places = [shown.index(name) for name in ("train_line", "calibrate_line", "evaluate_line")]
    assert places == sorted(places)
    assert shown.count("--config benchmarks/magnetic_tile.yaml") == 3
    assert "--minutes 7 " in shown
    assert "--paradigm ddim --paradigm one_step" in shown


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_line_of_the_tiles_is_trained_calibrated_and_evaluated(
    dataset: Path, tmp_path: Path
) -> None:
    report = tmp_path / "tiles.json"
    places = {"model.bundle": tmp_path / "bundle", "calibration.folder": tmp_path / "calibration"}
    changes = {**places, "frame.input_px": "[64,64]", "model.device": "cpu"}
    line = ["--config", LINE, *(f"--set={key}={value}" for key, value in changes.items())]

    assert end_of(train, *line, "--images", dataset, "--steps", "2") == 0
    assert end_of(calibrate, *line, "--images", dataset, "--false-reject-rate", "0.25") == 0
    assert end_of(evaluate, *line, "--dataset", dataset, "--json", report) == 0

    content = json.loads(report.read_text())
    assert content["bundle"] == load_bundle(tmp_path / "bundle").id
    assert set(content["norm_guided"]["per_type"]) == {"crack", "scratch"}
    assert content["verdicts"]["good"] == 4
