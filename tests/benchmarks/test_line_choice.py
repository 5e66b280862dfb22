"""Which lines can be measured, and what names them to a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.line_choice import LineChoice, check_choice
from pipeline.config_file import line_file
from pipeline.errors import ConfigError

LINE_3 = LineChoice(line_file(3), ("camera.rate_hz=2",))


def test_changes_reach_the_configuration_the_last_one_wins() -> None:
    changed = LINE_3.changed({"camera.rate_hz": "null", "batch.size": "4"})
    config = changed.load()
    assert config.camera.rate_hz is None
    assert config.batch.size == 4
    assert LINE_3.load().camera.rate_hz == 2
    assert changed.arguments() == [
        "--config",
        str(line_file(3)),
        *("--set", "camera.rate_hz=2"),
        *("--set", "camera.rate_hz=null"),
        *("--set", "batch.size=4"),
    ]


def test_a_line_with_another_camera_cannot_be_measured(tmp_path: Path) -> None:
    camera = f"camera={{kind: folder, folder: {tmp_path}, rate_hz: null}}"
    with pytest.raises(ConfigError, match="simulated camera"):
        check_choice(LineChoice(line_file(3), (camera,)))


def test_a_line_with_the_plants_broker_is_asked_for_the_embedded_one() -> None:
    broker = "mqtt.broker={kind: external, host: localhost, port: 1883}"
    with pytest.raises(ConfigError, match=r"--set 'mqtt\.broker="):
        check_choice(LineChoice(line_file(3), (broker,)))
