"""Processes of the stages: shared ones, devices in turn, and what of it cannot be meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import LineConfig
from pipeline.config_file import load_line, write_line
from pipeline.errors import ConfigError

MakeConfig = Callable[..., LineConfig]
SHARED = {"with": "reconstruction"}
TWO = {"workers": 2, "threads": 3, "devices": ["cuda:0", "cuda:1"]}


def test_segmentation_has_processes_of_its_own_unless_it_shares_others(
    make_config: MakeConfig,
) -> None:
    own = make_config().stages.segmentation
    assert (own.with_, own.workers, own.threads, own.devices) == (None, 1, 1, ())
    named = make_config({"stages.segmentation": {"with": None, "threads": 2}}).stages.segmentation
    assert (named.with_, named.threads) == (None, 2)


def test_shared_processes_have_the_settings_of_their_first_stage(make_config: MakeConfig) -> None:
    stages = make_config(
        {"stages.reconstruction": TWO, "stages.segmentation": SHARED, "stages.queue": 3}
    ).stages
    shared = stages.segmentation
    assert (shared.with_, shared.workers, shared.threads) == ("reconstruction", 2, 3)
    assert shared.devices == stages.reconstruction.devices == ("cuda:0", "cuda:1")
    assert stages.queue == 3


@pytest.mark.parametrize(
    "segmentation", [SHARED, {"workers": 3, "devices": ["cpu", "cuda:0"]}, {}, {"with": None}]
)
def test_what_is_written_as_run_is_read_the_same(
    make_config: MakeConfig, tmp_path: Path, segmentation: dict[str, Any]
) -> None:
    changes = {"stages.reconstruction": TWO, "stages.segmentation": segmentation}
    config = make_config(changes)
    write_line(config, tmp_path / "line.yaml")
    assert load_line(tmp_path / "line.yaml") == config


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "settings beside with": (
        {"stages.segmentation": {"with": "reconstruction", "workers": 2, "threads": 1}},
        r"stages\.segmentation: it runs with reconstruction, .*leave out workers, threads; .*"
        r"--set 'stages\.segmentation=\{with: reconstruction\}'",
    ),
    "with added to what the file says": (
        {"stages": {"segmentation": {"workers": 2, "threads": 1}}}
        | {"stages.segmentation.with": "reconstruction"},
        r"stages\.segmentation: .*leave out workers, threads;",
    ),
    "a device beside with": (
        {"stages.segmentation": {"with": "reconstruction", "devices": ["cpu"]}},
        r"leave out devices;",
    ),
    "with a stage that is not the one before it": (
        {"stages.segmentation": {"with": "preprocessing"}},
        r"stages\.segmentation\.with: input should be 'reconstruction'",
    ),
    "with, of another stage": (
        {"stages.reconstruction": {"with": "preprocessing"}},
        r"stages\.reconstruction\.with: unknown key",
    ),
    "the name within the program": (
        {"stages.segmentation": {"with_": "reconstruction"}},
        r"stages\.segmentation\.with_: unknown key",
    ),
    "fewer workers than devices": (
        {"stages.reconstruction": {"devices": ["cuda:0", "cuda:1"]}},
        r"stages\.reconstruction: 2 devices need 2 workers, one for each, and there are 1: set "
        r"workers to 2 or more, or name fewer devices",
    ),
    "a device that is none": (
        {"stages.segmentation.devices": ["cuda"]},
        r"stages\.segmentation\.devices\.0: string should match",
    ),
    "a device that is no list": (
        {"stages.segmentation.devices": "cpu"},
        r"stages\.segmentation\.devices: input should be a valid (tuple|array)",
    ),
    "a device of a stage without a network": (
        {"stages.preprocessing": {"devices": ["cpu"]}},
        r"stages\.preprocessing\.devices: unknown key",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_be_meant_is_refused(make_config: MakeConfig, name: str) -> None:
    changes, complaint = MISTAKES[name]
    with pytest.raises(ConfigError, match=complaint) as caught:
        make_config(changes)
    assert "1 mistake\n" in str(caught.value)


def test_workers_take_devices_in_turn(make_config: MakeConfig) -> None:
    config = make_config({"stages.reconstruction": {**TWO, "workers": 5}})
    section = config.stages.reconstruction
    taken = [section.device_of(worker, "cpu") for worker in range(5)]
    assert taken == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]
    assert config.stages.segmentation.device_of(3, config.model.device) == config.model.device


def test_the_devices_of_a_line_are_those_that_its_workers_run_on(make_config: MakeConfig) -> None:
    assert make_config({"model.device": "cpu"}).devices == ("cpu",)
    two = {"model.device": "cpu", "stages.reconstruction": TWO}
    assert make_config(two).devices == ("cuda:0", "cuda:1", "cpu")
    both = make_config({**two, "stages.segmentation": {"workers": 2, "devices": ["cuda:1"]}})
    assert both.devices == ("cuda:0", "cuda:1")
    shared = make_config({**two, "stages.segmentation": SHARED})
    assert shared.devices == ("cuda:0", "cuda:1")
