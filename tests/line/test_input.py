"""Bad input: what the line says, with which exit code, and that nothing else happens."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from pipeline.config_file import CONFIGS
from pipeline.messages import Reason, Verdict
from stages.acquisition.simulation import PartRenderer
from stages.bundle import load_bundle, save_bundle

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def test_all_mistakes_of_a_configuration_are_listed_and_nothing_is_started(line, run_cli, tmp_path):
    data = yaml.safe_load((ROOT / "configs" / "line_3.yaml").read_text())
    data["camera"]["rate"] = 5
    data["batch"]["size"] = "eight"
    data["timing"]["deadline_ms"] = -1
    del data["mqtt"]["topic_root"]
    file = tmp_path / "line_9.yaml"
    file.write_text(yaml.safe_dump(data))

    result = run_cli(
        ["run_line.py", "--config", str(file), "--set", f"run_folder={line.run_folder}"]
    )

    assert result.returncode == 2
    for expected in (
        "camera.rate",
        "batch.size",
        "timing.deadline_ms",
        "mqtt.topic_root",
        str(file),
    ):
        assert expected in result.stderr
    assert not line.run_folder.exists()


def test_a_missing_configuration_names_those_that_exist(run_cli):
    result = run_cli(["run_line.py", "--line", "77"])

    assert result.returncode == 2
    assert "line_3.yaml" in result.stderr


def test_a_stage_that_the_line_does_not_run_cannot_be_run_by_hand(run_cli):
    result = run_cli(["run_line.py", "--line", "3", "--by-hand", "segmentation"])

    assert result.returncode == 2
    assert "--by-hand segmentation: no such stage; the line has broker" in result.stderr
    assert "reconstruction+segmentation" in result.stderr


def parts_folder(folder: Path, good: int) -> Path:
    """Files as bad as they come between good parts, in the order of their names."""
    folder.mkdir(parents=True)
    renderer = PartRenderer("moulded_cap", (512, 512), seed=77, defect_share=0.0)
    for sequence in range(1, good + 1):
        cv2.imwrite(str(folder / f"part_{sequence:02d}.png"), renderer.render(sequence).image)
    whole = (folder / "part_01.png").read_bytes()
    image = renderer.render(1).image
    (folder / "bad_truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "bad_empty.png").write_bytes(b"")
    (folder / "bad_text.jpg").write_text("this is not an image")
    cv2.imwrite(str(folder / "bad_100_megapixels.png"), np.full((10_000, 10_000), 128, np.uint8))
    cv2.imwrite(str(folder / "bad_one_pixel.png"), image[:1, :1])
    cv2.imwrite(str(folder / "bad_size.png"), image[:400])
    cv2.imwrite(str(folder / "bad_depth.png"), image.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "bad_black.png"), np.zeros_like(image))
    cv2.imwrite(str(folder / "bad_white.png"), np.full_like(image, 255))
    return folder


def test_frames_that_cannot_be_inspected_cost_nothing_but_themselves(line, plc, verify):
    folder = parts_folder(line.folder / "images", good=6)

    line.start("--images", str(folder))
    assert line.wait() == 0

    records = verify(line, plc)
    reason_of = {Path(record.source).stem: record.reason for record in records}
    expected = {
        "bad_truncated": Reason.FRAME_UNREADABLE,
        "bad_empty": Reason.FRAME_UNREADABLE,
        "bad_text": Reason.FRAME_UNREADABLE,
        "bad_100_megapixels": Reason.FRAME_SIZE,
        "bad_one_pixel": Reason.FRAME_SIZE,
        "bad_size": Reason.FRAME_SIZE,
        "bad_depth": Reason.FRAME_DEPTH,
        "bad_black": Reason.FRAME_BLACK,
        "bad_white": Reason.FRAME_SATURATED,
    }
    assert {name: reason_of[name] for name in expected} == expected
    good = [record for record in records if Path(record.source).stem.startswith("part_")]
    assert len(good) == 6
    assert all(record.verdict is not Verdict.UNINSPECTED for record in good)


def test_an_empty_folder_is_an_error_with_counts(line, tmp_path):
    (tmp_path / "notes.txt").write_text("no images here")

    line.start("--images", str(tmp_path), ready=False)

    assert line.wait() == 2
    assert any(str(tmp_path) in text for text in line.output)
    assert not line.run_folder.exists()


@pytest.fixture
def copied_model(line):
    """The shipped bundle and calibration, where a test may damage them."""
    shutil.copytree(ROOT / "configs" / "line_3", line.folder / "model")
    return line.folder / "model"


def model_settings(folder: Path) -> list[str]:
    return [
        "--set",
        f"model.bundle={folder / 'bundle'}",
        "--set",
        f"calibration.folder={folder / 'calibration'}",
    ]


def remove_bundle(folder: Path) -> None:
    shutil.rmtree(folder / "bundle")


def change_weights(folder: Path) -> None:
    file = folder / "bundle" / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def remove_calibration(folder: Path) -> None:
    shutil.rmtree(folder / "calibration")


def foreign_bundle(folder: Path) -> None:
    """The same networks under another name: another bundle, for which nothing is calibrated."""
    bundle = load_bundle(folder / "bundle")
    manifest = bundle.manifest.model_copy(update={"noise_seed": bundle.manifest.noise_seed + 1})
    save_bundle(folder / "bundle", manifest, *bundle.networks())


@pytest.mark.parametrize(
    ("damage", "remedy"),
    [
        (remove_bundle, "train_line"),
        (change_weights, "train_line"),
        (remove_calibration, "calibrate_line"),
        (foreign_bundle, "calibrate_line"),
    ],
)
def test_a_line_without_a_sound_model_does_not_start(line, copied_model, damage, remedy):
    damage(copied_model)

    line.start(*model_settings(copied_model), ready=False)

    assert line.wait() == 3
    said = "\n".join(line.output)
    assert f"{remedy} --config {CONFIGS / 'line_3.yaml'} --set run_folder=" in said
    assert "RUNNING" not in said
    assert not line.run_folder.exists()


def test_the_check_says_what_is_wrong_and_starts_nothing(line, copied_model, run_cli):
    remove_calibration(copied_model)
    command = ["run_line.py", "--line", "3", *line.arguments(), "--check"]

    sound = run_cli(command)
    unsound = run_cli([*command, *model_settings(copied_model)])

    assert sound.returncode == 0, sound.stdout + sound.stderr
    assert unsound.returncode == 3
    assert "calibrate_line --line 3" in unsound.stdout
    assert not line.run_folder.exists()


def test_the_check_beside_the_running_line_finds_nothing_wrong(line, run_cli):
    line.start("--set", "supervision.autostart=false", ready=False)
    line.wait_for("READY: all processes are ready")
    checked = run_cli(["run_line.py", "--line", "3", *line.arguments(), "--check"])
    assert "WRONG" not in checked.stdout
    assert f"line 3 (process {line.process.pid}) is running" in checked.stdout
    assert checked.returncode == 0


def test_the_check_names_a_recipe_that_is_not_ready(line, copied_model, tmp_path, run_cli):
    recipe = (
        f"{{name: lids, bundle: {tmp_path / 'no'}, calibration: {copied_model / 'calibration'}}}"
    )
    command = ["run_line.py", "--line", "3", *line.arguments(), "--check"]
    checked = run_cli([*command, "--set", f"recipes=[{recipe}]"])
    assert "WRONG  model bundle of recipe lids" in checked.stdout
    assert "--set recipe=lids --parts 800" in checked.stdout
    assert checked.stdout.endswith("the line can start, but not change to recipe lids\n")
    assert checked.returncode == 0


def test_a_port_that_is_taken_is_said_before_anything_starts(line, run_cli):
    with socket.create_server(("127.0.0.1", line.port)):
        line.start(ready=False)
        line.wait_for(f"port {line.port} is taken by another program; set mqtt.broker.port")
        assert line.wait() == 2
        checked = run_cli(["run_line.py", "--line", "3", *line.arguments(), "--check"])
    assert (checked.returncode, "WRONG  MQTT broker" in checked.stdout) == (2, True)
    assert not line.run_folder.exists()


def test_a_place_for_the_summary_that_is_not_there_is_said_before_anything_starts(line, tmp_path):
    line.start("--summary", str(tmp_path / "nowhere" / "s.json"), ready=False)
    line.wait_for("--summary .*there is no folder .*nowhere; make it first")
    assert line.wait() == 2
    assert not line.data_folder.exists()


def test_a_data_folder_that_is_a_file_is_refused_by_run_and_check(line, run_cli):
    line.data_folder.write_text("in the way")
    line.start(ready=False)
    line.wait_for("data_folder .*nothing can be written there")
    assert line.wait() == 2
    checked = run_cli(["run_line.py", "--line", "3", *line.arguments(), "--check"])
    assert checked.returncode == 2
    assert "WRONG  data folder" in checked.stdout
