from __future__ import annotations

import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.command_line import line_parser, load_arguments_line
from stages.bundle import load_bundle
from stages.exposure import LEVEL
from stages.model_profiles import PROFILES
from training import command
from training.command import main


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    code = ended.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.usefixtures("tiny_as_compact")
def test_a_folder_of_images_becomes_the_lines_bundle(
    line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = line.parent / "parts"
    (images / "broken.png").write_bytes(b"no image")

    assert run("--config", line, "--images", images, "--steps", 2, "--device", "cpu") == 0

    bundle = load_bundle(line.parent / "bundle")
    assert bundle.manifest.channels == 1
    assert bundle.manifest.exposure_level is None
    assert bundle.manifest.preprocessing["input_px"] == [64, 64]
    shown = capsys.readouterr().out
    assert "28 images" in shown
    assert "skipped broken.png" in shown
    assert f"Bundle {bundle.id}" in shown
    assert f"calibrate_line --config {line}" in shown


@pytest.mark.usefixtures("tiny_as_compact")
@pytest.mark.parametrize("out", [None, "a bundle"], ids=["its own", "--out"])
@pytest.mark.parametrize("recipe", ["default", "cap"])
def test_the_next_command_calibrates_the_bundle_that_was_trained(
    line: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    out: str | None,
    recipe: str,
) -> None:
    monkeypatch.chdir(line.parent)
    cap = "{name: cap, bundle: cap bundle, calibration: cap calibration}"
    changes = ("--set", f"recipes=[{cap}]", "--set", f"recipe={recipe}")
    options = (
        "--images",
        "parts",
        "--steps",
        1,
        "--device",
        "cpu",
        *(("--out", out) if out else ()),
    )

    assert run("--config", line, *changes, *options) == 0

    program, *words = shlex.split(capsys.readouterr().out.rpartition("Next: ")[2])
    told, rest = line_parser(program, "").parse_known_args(words)
    assert rest == ["--images", "parts", "--false-reject-rate", "0.01"]
    config = load_arguments_line(told)
    own = {"default": "bundle", "cap": "cap bundle"}[recipe]
    assert program == "calibrate_line"
    assert load_bundle(config.model.bundle).folder == line.parent / (out or own)
    assert config.calibration.folder.name.startswith("cap") == (recipe == "cap")


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (("--seed", "99999999999999999999"), "seed: Input should be less than or equal to"),
        (("--out", "."), "current folder"),
        (("--out", ".."), "current folder"),
    ],
)
def test_odd_arguments_end_with_code_2_before_images_are_read(
    line: Path, capsys: pytest.CaptureFixture[str], odd: tuple[str, str], message: str
) -> None:
    plain = ("--images", line.parent / "none", "--steps", 1)

    assert run("--config", line, *plain, *odd) == 2

    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("tiny_as_compact")
def test_every_skipped_image_is_listed_in_a_file(
    line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, listing = line.parent / "parts", line.parent / "bundle.training" / "skipped.txt"
    names = [f"broken {number}.png" for number in range(8)]
    for name in names:
        (images / name).write_bytes(b"no image")
    command = ("--config", line, "--images", images, "--steps", 1, "--device", "cpu")

    assert run(*command) == 0

    shown = capsys.readouterr().out
    assert shown.count("  skipped broken") == 5
    assert f"and 3 more skipped\n  all that was skipped: {listing}" in shown
    lines = listing.read_text().splitlines()
    assert [text.partition(": ")[0] for text in lines] == names
    assert all(text.partition(": ")[2] for text in lines)

    for name in names:
        (images / name).unlink()
    assert run(*command) == 0
    assert not listing.exists()


@pytest.mark.usefixtures("tiny_as_compact")
def test_both_networks_may_be_trained_together(line: Path) -> None:
    images = line.parent / "parts"

    code = run("--config", line, "--images", images, "--steps", 2, "--device", "cpu", "--joint")

    assert code == 0
    made = load_bundle(line.parent / "bundle").manifest.training
    assert (made["reconstruction_share"], made["joint_share"]) == (0.0, 1.0)
    assert made["learning_rate"] == 1e-4


@pytest.mark.usefixtures("tiny_as_compact")
def test_options_reach_the_training_and_what_came_with_the_profile_stays(
    line: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROFILES, "paper", PROFILES["compact"])
    plain = ("--images", line.parent / "parts", "--steps", 1, "--device", "cpu")
    options = [
        *("--option", "crop_px=32", "--option", "ema_decay=0.5", "--option", "batch_size=2"),
        *("--option", "noise_schedule=cosine", "--option", "segmentation_rate=1e-3"),
    ]

    assert run("--config", line, *plain, "--profile", "paper", *options) == 0

    manifest = load_bundle(line.parent / "bundle").manifest
    made = manifest.training
    assert (made["crop_px"], made["ema_decay"], made["batch_size"]) == (32, 0.5, 2)
    assert (made["learning_rate"], made["segmentation_rate"]) == (1e-4, 1e-3)
    assert (made["exposure"], made["kinds"], made["clip_norm"]) == ("as_is", ["perlin"], None)
    assert made["brightness_jitter"] == 0.0
    assert manifest.profile.diffusion.schedule == "cosine"


def test_a_wrong_option_ends_with_code_2_before_images_are_read(
    line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ("--images", line.parent / "none", "--steps", 1)

    assert run("--config", line, *plain, "--option", "ema_decay=2") == 2

    assert "ema_decay: Input should be less than 1, not 2" in capsys.readouterr().err


@pytest.mark.usefixtures("tiny_as_compact")
@pytest.mark.parametrize(
    ("wanted", "level"), [((), LEVEL), (("--exposure", "as_is"), None)], ids=["auto", "as_is"]
)
def test_parts_of_varied_brightness_are_evened_out(
    line: Path,
    wanted: tuple[str, ...],
    level: float | None,
    normals: np.ndarray,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = line.parent / "varied"
    images.mkdir()
    for i, image in enumerate(normals[:28]):
        gain = (0.3, 0.6, 1.0, 1.6)[i % 4]
        cv2.imwrite(str(images / f"{i}.png"), np.clip(gain * image, 0, 255).astype(np.uint8))

    options = ("--images", images, "--steps", 2, "--device", "cpu", *wanted)
    assert run("--config", line, *options) == 0

    assert load_bundle(line.parent / "bundle").manifest.exposure_level == level
    assert ("one brightness" in capsys.readouterr().out) == (level is not None)


@pytest.mark.usefixtures("tiny_as_compact")
@pytest.mark.parametrize(("option", "there"), [((), True), (("--no-surface",), False)])
def test_a_surface_model_is_fitted_unless_it_is_not_wanted(
    line: Path, option: tuple[str, ...], there: bool
) -> None:
    options = ("--images", line.parent / "parts", "--steps", 2, "--device", "cpu", *option)
    assert run("--config", line, *options) == 0
    assert load_bundle(line.parent / "bundle").manifest.surface == there


@pytest.mark.usefixtures("tiny_as_compact")
def test_textures_are_counted_and_damaged_ones_named(
    line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = line.parent / "textures"
    folder.mkdir()
    cv2.imwrite(str(folder / "stripes.png"), np.tile(np.uint8([0, 255]), (64, 32)))
    (folder / "broken.png").write_bytes(b"no image")
    options = ("--images", line.parent / "parts", "--steps", 2, "--device", "cpu")

    assert run("--config", line, *options, "--textures", folder) == 0

    shown = capsys.readouterr().out
    assert "1 texture to paint with\n  skipped broken.png: " in shown


@pytest.mark.usefixtures("tiny_as_compact")
def test_a_loss_that_is_not_finite_ends_with_code_1_and_no_bundle(
    line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--steps", 4, "--device", "cpu", "--learning-rate", "1e30")

    assert run("--config", line, "--images", line.parent / "parts", *options) == 1

    told = capsys.readouterr().err
    assert "not finite: noise loss" in told
    assert "Lower the learning rate" in told
    assert not (line.parent / "bundle").exists()


def test_too_few_images_end_with_counts(line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted((line.parent / "parts").iterdir())[5:]:
        path.unlink()

    assert run("--config", line, "--images", line.parent / "parts", "--steps", 2) == 2

    assert "5 usable images" in capsys.readouterr().err


def test_a_folder_line_cannot_draw_parts(line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--config", line, "--parts", 50, "--steps", 2) == 2

    assert "give --images DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("--images", "x", "--parts", "3", "--steps", "1"),
        ("--images", "x"),
        ("--images", "x", "--minutes", "0"),
        ("--images", "x", "--steps", "1.5"),
        ("--images", "x", "--steps", "1", "--without", "rust"),
    ],
)
def test_wrong_arguments_end_with_code_2(line: Path, wrong: tuple[str, ...]) -> None:
    assert run("--config", line, *wrong) == 2


def test_leaving_out_every_kind_is_an_error(line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = [word for kind in command.AnomalyKind for word in ("--without", kind.value)]

    assert run("--config", line, "--images", line.parent / "parts", "--steps", 1, *every) == 2

    assert "kinds" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0

    shown = capsys.readouterr().out
    for word in ("--minutes", "--resume", "preview", "torchrun", "examples", "exit codes"):
        assert word in shown
