"""What `--check` asks: everything of the line's own processes, each subject once."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import LineConfig
from pipeline.config_file import write_line
from pipeline.errors import BundleError, CalibrationError, ConfigError, InputError, LineError
from pipeline.preflight import Finding, check_line, main

MakeConfig = Callable[..., LineConfig]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def findings(config: LineConfig) -> dict[str, Finding]:
    found = list(check_line(config))
    assert len({finding.subject for finding in found}) == len(found)
    return {finding.subject: finding for finding in found}


def test_each_thing_that_is_missing_is_found(
    make_config: MakeConfig, tmp_path: Path, free_port: int
) -> None:
    changes = {
        "model.bundle": str(tmp_path / "bundle"),
        "calibration.folder": str(tmp_path / "calibration"),
        "mqtt.broker.port": free_port,
    }
    found = findings(make_config(changes))
    faults = {subject: finding.fault for subject, finding in found.items()}
    assert faults["camera"] is None
    assert isinstance(faults["model bundle"], BundleError)
    assert isinstance(faults["calibration"], BundleError | CalibrationError)
    assert faults["MQTT broker"] is None
    assert "train_line" in str(faults["model bundle"])


def test_a_camera_and_a_broker_that_are_not_there(
    make_config: MakeConfig, tmp_path: Path, free_port: int
) -> None:
    changes = {
        "camera": {"kind": "folder", "folder": str(tmp_path), "rate_hz": None},
        "mqtt.broker": {"kind": "external", "host": "127.0.0.1", "port": free_port},
    }
    found = findings(make_config(changes))
    camera, broker = found["camera"].fault, found["MQTT broker"].fault
    assert isinstance(camera, InputError)
    assert str(tmp_path) in str(camera)
    assert isinstance(broker, LineError)
    assert str(free_port) in str(broker)


def test_a_camera_that_is_set_up_wrongly(make_config: MakeConfig) -> None:
    found = findings(make_config({"camera.product": "porcelain"}))
    assert isinstance(found["camera"].fault, ConfigError)
    assert found["camera"].stage == "acquisition"


def test_some_subjects_can_be_checked_alone(
    make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "line.yaml"
    write_line(make_config({"calibration.folder": str(tmp_path / "none")}), file)
    assert main(["--config", str(file), "--subject", "camera"]) == 0
    assert main(["--config", str(file), "--subject", "camera", "--subject", "calibration"]) == 3
    assert "calibrate_line --line 3" in capsys.readouterr().out
    assert main(["--config", str(tmp_path / "none.yaml"), "--subject", "camera"]) == 2


def test_stages_that_share_processes_are_checked_all_the_same(make_config: MakeConfig) -> None:
    changes = {"stages.segmentation": {"with": "reconstruction"}}
    own, shared = findings(make_config()), findings(make_config(changes))
    assert {subject: finding.stage for subject, finding in shared.items()} == {
        subject: finding.stage for subject, finding in own.items()
    }
    assert shared["model bundle"].stage == "reconstruction"
    assert shared["calibration"].stage == "segmentation"
