from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks.trial import add_trial_options, bundle_folder, training_settings
from pipeline.errors import ConfigError
from stages.model_profiles import COMPACT, PAPER


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_trial_options(parser)
    return parser.parse_args(arguments)


def test_settings_come_from_options_and_changes() -> None:
    given = options("--minutes", "3", "--device", "cpu", "--set", "flip_vertical=true")
    settings = training_settings(given, COMPACT, seed=4)
    assert (settings.minutes, settings.seed, settings.device) == (3.0, 4, "cpu")
    assert (settings.flip_vertical, settings.flip_horizontal) == (True, False)


def test_the_papers_profile_brings_its_settings() -> None:
    settings = training_settings(options("--steps", "5"), PAPER, seed=0)
    assert (settings.steps, settings.batch_size, settings.learning_rate) == (5, 16, 1e-4)


@pytest.mark.parametrize("wrong", ["widht=3", "batch_size=1", "kinds=[rust]"])
def test_a_wrong_setting_is_named(wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong.partition("=")[0]):
        training_settings(options("--steps", "5", "--set", wrong), COMPACT, seed=0)


@pytest.mark.parametrize("wrong", [(), ("--minutes", "1", "--steps", "1"), ("--minutes", "0")])
def test_one_budget_is_wanted(wrong: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        options(*wrong)
    assert ended.value.code == 2


def test_bundles_are_kept_on_request_alone(tmp_path: Path) -> None:
    with bundle_folder(options("--steps", "1", "--keep", str(tmp_path))) as folder:
        assert folder == tmp_path
    assert tmp_path.is_dir()
    with bundle_folder(options("--steps", "1")) as folder:
        assert folder.is_dir()
    assert not folder.exists()
