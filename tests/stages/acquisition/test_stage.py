"""Acquisition's process, called directly: at most one part a tick, and a count that goes on."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from camera_server import CameraServer
from pipeline.config import LineConfig
from pipeline.config_file import line_file, load_line
from pipeline.control import LineOrder, LineState
from pipeline.errors import ConfigError, InputError, LineError
from pipeline.messages import Announcement, CapturedFrame, Failure, Message, Reason
from pipeline.stage import NEVER_NS, StageContext
from stages.acquisition.camera import Camera, open_camera
from stages.acquisition.stage import AcquisitionStage, build, check_camera

CAPTURE = LineOrder("s", LineState.RUNNING, "", 0, capture=True)
WAIT = LineOrder("s", LineState.PREOPERATIONAL, "", 0)
Open = Callable[[LineConfig], AcquisitionStage]


@pytest.fixture
def run_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="line-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def make_config(run_folder: Path) -> Callable[..., LineConfig]:
    def make(**changes: Any) -> LineConfig:
        own = {"run_folder": str(run_folder), "camera.size_px": [128, 128], "camera.rate_hz": None}
        return load_line(line_file(3), [*own.items(), *changes.items()])

    return make


@pytest.fixture
def open_stage() -> Iterator[Open]:
    opened: list[AcquisitionStage] = []

    def open_one(config: LineConfig) -> AcquisitionStage:
        stage = build(StageContext(config, "s", 0, logging.getLogger("acquisition")))
        assert isinstance(stage, AcquisitionStage)
        stage.open()
        opened.append(stage)
        return stage

    yield open_one
    for stage in opened:
        stage.close()


def tick(stage: AcquisitionStage, order: LineOrder = CAPTURE, room: bool = True) -> list[Message]:
    return list(stage.tick(1, order, room))


def test_a_part_is_announced_and_its_frame_follows(
    make_config: Callable[..., LineConfig], open_stage: Open
) -> None:
    stage = open_stage(make_config())
    for sequence in (1, 2):
        announcement, frame = tick(stage)
        assert isinstance(announcement, Announcement)
        assert isinstance(frame, CapturedFrame)
        assert announcement.part == frame.part
        assert (frame.part.line, frame.part.session, frame.part.sequence) == (3, "s", sequence)
        assert announcement.deadline_monotonic_ns == frame.deadline_monotonic_ns
        assert announcement.truth is not None
    assert stage.report().last_sequence == 2


def test_nothing_is_captured_without_the_order_or_room(
    make_config: Callable[..., LineConfig], open_stage: Open
) -> None:
    stage = open_stage(make_config())
    assert tick(stage, WAIT) == []
    assert tick(stage, room=False) == [], "a simulated part as fast as possible can wait"
    assert stage.report().last_sequence == 0
    assert len(tick(stage)) == 2


def test_a_paced_part_without_room_is_failed_as_overload(
    make_config: Callable[..., LineConfig], open_stage: Open
) -> None:
    stage = open_stage(make_config(**{"camera.rate_hz": 100}))
    announcement, failure = tick(stage, room=False)
    assert isinstance(announcement, Announcement)
    assert isinstance(failure, Failure)
    assert failure.reason is Reason.OVERLOAD


def test_a_new_process_goes_on_counting(
    make_config: Callable[..., LineConfig], open_stage: Open
) -> None:
    config = make_config(**{"camera.parts": 3})
    killed = open_stage(config)
    tick(killed)
    tick(killed)
    stage = open_stage(config)
    assert stage.report().last_sequence == 2
    assert not stage.report().exhausted
    assert [message.part.sequence for message in tick(stage)] == [3, 3]
    assert stage.report().exhausted
    assert tick(stage) == []


def test_the_report_can_be_read_after_closing(
    make_config: Callable[..., LineConfig], open_stage: Open
) -> None:
    stage = open_stage(make_config())
    tick(stage)
    stage.close()
    assert stage.report().last_sequence == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"camera.product": "porcelain"}, ConfigError),
        ({"camera": {"kind": "folder", "folder": "/nowhere", "rate_hz": None}}, InputError),
    ],
)
def test_a_camera_that_cannot_work_does_not_start(
    run_folder: Path,
    open_stage: Open,
    changes: dict[str, Any],
    error: type[LineError],
) -> None:
    config = load_line(line_file(3), [*changes.items(), ("run_folder", str(run_folder))])
    with pytest.raises(error):
        open_stage(config)
    with pytest.raises(error):
        check_camera(config)


def test_the_check_takes_one_frame(make_config: Callable[..., LineConfig], tmp_path: Path) -> None:
    check_camera(make_config())
    cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 64), 99, np.uint8))
    folder = {"kind": "folder", "folder": str(tmp_path), "rate_hz": None}
    check_camera(load_line(line_file(3), [("camera", folder)]))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(LineError, match=r"a\.png"):
        check_camera(load_line(line_file(3), [("camera", folder)]))


def test_the_check_gives_the_first_frame_that_can_be_read(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"no image")
    assert cv2.imwrite(str(tmp_path / "3.png"), np.full((64, 64), 99, np.uint8))
    folder = {"kind": "folder", "folder": str(tmp_path), "rate_hz": None, "repeat": True}
    assert (check_camera(load_line(line_file(3), [("camera", folder)])) == 99).all()


def test_files_that_break_once_the_camera_is_open_fail_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cv2.imwrite(str(tmp_path / "1.png"), np.full((64, 64), 99, np.uint8))

    def open_and_break(config: LineConfig) -> Camera:
        camera = open_camera(config)
        (tmp_path / "1.png").write_bytes(b"")
        return camera

    monkeypatch.setattr("stages.acquisition.stage.open_camera", open_and_break)
    folder = {"kind": "folder", "folder": str(tmp_path), "rate_hz": None, "repeat": True}
    with pytest.raises(LineError, match=r"1\.png: the file is empty"):
        check_camera(load_line(line_file(3), [("camera", folder)]))


def test_it_is_due_when_the_next_part_is(
    make_config: Callable[..., LineConfig], open_stage: Open
) -> None:
    stage = open_stage(make_config(**{"camera.rate_hz": 20}))
    assert stage.due_ns(1) == NEVER_NS, "before an order captures"
    tick(stage, WAIT)
    assert stage.due_ns(1) == NEVER_NS
    tick(stage)
    assert stage.due_ns(1) == 1 + 50_000_000
    tick(stage, room=False)
    assert stage.due_ns(1) == 1 + 50_000_000, "a paced part comes, room or not"


def test_a_part_that_can_wait_is_due_as_soon_as_there_is_room(
    make_config: Callable[..., LineConfig], open_stage: Open
) -> None:
    stage = open_stage(make_config(**{"camera.parts": 2}))
    tick(stage)
    assert stage.due_ns(7) == 7
    tick(stage, room=False)
    assert stage.due_ns(7) == NEVER_NS, "room wakes the loop"
    tick(stage)
    assert stage.due_ns(7) == NEVER_NS, "there is no third part"


def test_a_camera_that_is_away_is_an_alarm_while_parts_are_taken(
    run_folder: Path, open_stage: Open
) -> None:
    server = CameraServer()
    times = {"open_timeout_ms": 2000, "read_timeout_ms": 60_000, "reconnect_ms": 100}
    camera = {"kind": "stream", "url": server.url, "trigger": "every_frame", **times}
    stage = open_stage(
        load_line(line_file(3), [("camera", camera), ("run_folder", str(run_folder))])
    )
    until(lambda: server.send(1) or tick(stage))
    assert stage.report().alarm == ""
    server.close()
    until(lambda: stage.report().alarm)
    assert f"camera {server.url}" in stage.report().alarm
    tick(stage, WAIT)
    assert stage.report().alarm == ""
    assert stage.report().warning


def until(condition: Callable[[], object]) -> None:
    """Ask again and again; fails after a while."""
    end_s = time.monotonic() + 10
    pace = threading.Event()
    while not condition():
        assert time.monotonic() < end_s, "the condition never came true"
        pace.wait(0.05)
