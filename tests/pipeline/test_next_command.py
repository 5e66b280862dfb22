from __future__ import annotations

from pipeline.command_line import line_parser, load_arguments_line
from pipeline.config import LineConfig
from pipeline.config_file import line_file, load_line
from pipeline.next_command import calibrate_command, line_arguments, train_command

LIDS = {"name": "lids", "bundle": "lids/bundle", "calibration": "lids/calibration"}
TWO_RECIPES = ("--set", f"recipes=[{LIDS}]")


def asked_for(*options: str) -> LineConfig:
    return load_arguments_line(line_parser("a_command", "").parse_args(options))


def test_a_line_that_a_command_asked_for_is_named_by_the_very_options() -> None:
    given = ("--line", "3", "--set", "frame.input_px=[128, 128]", "--set", "name=Lids")
    words = "--line 3 --set 'frame.input_px=[128, 128]' --set name=Lids"
    config = asked_for(*given)
    assert train_command(config) == f"train_line {words} --parts 800 --minutes 60"
    assert calibrate_command(config).startswith(f"calibrate_line {words} --parts 200 --false")


def test_a_file_is_named_by_its_path() -> None:
    file = str(line_file(3))
    assert line_arguments(asked_for("--config", file)) == f"--config {file}"


def test_a_recipe_chosen_later_is_named_once() -> None:
    config = asked_for("--line", "3", *TWO_RECIPES)
    asked = line_arguments(config)
    there = config.with_recipe("lids")
    assert line_arguments(there) == f"{asked} --set recipe=lids"
    assert line_arguments(there.with_recipe("default").with_recipe("lids")) == (
        f"{asked} --set recipe=lids"
    )
    assert line_arguments(there.with_recipe("default")) == asked


def test_a_recipe_that_was_asked_for_is_not_named_again() -> None:
    config = asked_for("--line", "3", *TWO_RECIPES, "--set", "recipe=lids")
    assert line_arguments(config).count("recipe=") == 1
    assert line_arguments(config.with_recipe("default")).endswith(" --set recipe=default")


def test_without_a_command_a_line_is_named_by_number_and_what_scores_depend_on() -> None:
    config = load_line(line_file(3), [("recipes", [LIDS]), ("recipe", "lids")])
    assert train_command(config) == "train_line --line 3 --set recipe=lids --parts 800 --minutes 60"
    eleven = {"paradigm": "ddim", "ddim_steps": 11}
    assert line_arguments(load_line(line_file(3), [("reconstruction", eleven)])) == (
        "--line 3 --set reconstruction.paradigm=ddim --set reconstruction.ddim_steps=11"
    )


def test_images_in_the_place_of_a_drawing_camera_are_asked_for_as_images(tmp_path) -> None:
    camera = {"kind": "folder", "folder": str(tmp_path), "rate_hz": None}
    config = load_line(line_file(3), [("camera", camera)])
    assert train_command(config) == "train_line --line 3 --images DIR --minutes 60"
