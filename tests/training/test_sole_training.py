"""One training at a time in a work folder, whatever its process is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import TrainingError
from training.distributed import ALONE
from training.images import ImageSet
from training.session import train, work_folder
from training.settings import TrainingSettings
from training.sole_training import sole_training

HOLDING = """
import sys
from pathlib import Path
from training.distributed import ALONE
from training.sole_training import sole_training

with sole_training(Path(sys.argv[1]), ALONE):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_another_process_trains_in_is_refused_and_free_when_it_is_killed(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "new" / "bundle.training"
    command = [sys.executable, "-c", HOLDING, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with (
            pytest.raises(TrainingError, match=rf"another training \(process {other.pid}\)"),
            sole_training(folder, ALONE),
        ):
            raise AssertionError("two at once")
        other.kill()
        other.wait(30)

    with sole_training(folder, ALONE):
        pass
    with sole_training(folder, ALONE):
        pass


def test_a_training_leaves_everything_of_another_one_alone(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    settings = TrainingSettings.model_validate(
        {"profile": tiny_profile, "steps": 3, "crop_px": 32, "device": "cpu"}
    )
    checkpoint = work_folder(out) / "checkpoint.pt"
    with sole_training(work_folder(out), ALONE):
        checkpoint.write_bytes(b"of the other one")
        with pytest.raises(TrainingError, match="give this one an --out of its own"):
            train(good_parts, settings, out)

    assert checkpoint.read_bytes() == b"of the other one"
    assert not out.exists()


def test_a_place_that_takes_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with (
        pytest.raises(TrainingError, match="nothing can be written there"),
        sole_training(tmp_path / "file" / "bundle.training", ALONE),
    ):
        raise AssertionError("there is no folder")
