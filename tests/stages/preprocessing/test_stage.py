"""Preprocessing's process, called directly: a prepared frame, or a failure that still shows one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.config import LineConfig
from pipeline.config_file import line_file, load_line
from pipeline.control import LineOrder, LineState, StageReport
from pipeline.messages import CapturedFrame, Failure, Part, PreparedFrame, Reason, Stamp
from pipeline.preflight import check_line
from pipeline.stage import StageContext
from pipeline.wire import Decoder, Encoder
from stages.preprocessing.stage import PreprocessingStage, build

STAMPS = (Stamp("acquisition", 1, 2),)


@pytest.fixture
def config() -> LineConfig:
    changes = [("frame.size_px", [60, 80]), ("frame.input_px", [64, 64])]
    return load_line(line_file(3), [("frame.colour", "grey"), *changes, ("reject_log.view_px", 64)])


@pytest.fixture
def stage(config: LineConfig) -> PreprocessingStage:
    stage = build(StageContext(config, "s", 0, logging.getLogger("preprocessing")))
    assert isinstance(stage, PreprocessingStage)
    stage.open()
    return stage


def captured(image: np.ndarray, sequence: int = 1) -> CapturedFrame:
    return CapturedFrame(Part(3, "s", sequence), 99, image, STAMPS)


def noise(height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(5).integers(20, 220, (height, width), dtype=np.uint8)


def test_each_frame_is_answered_in_order(stage: PreprocessingStage) -> None:
    frames = [captured(noise(), 1), captured(np.zeros((60, 80), np.uint8), 2), captured(noise(), 3)]
    answers = list(stage.take(frames))
    assert [type(answer) for answer in answers] == [PreparedFrame, Failure, PreparedFrame]
    assert [answer.part.sequence for answer in answers] == [1, 2, 3]


def test_a_prepared_frame_is_fit_for_the_wire(stage: PreprocessingStage) -> None:
    (prepared,) = stage.take([captured(noise())])
    assert isinstance(prepared, PreparedFrame)
    assert (prepared.deadline_monotonic_ns, prepared.stamps) == (99, STAMPS)
    assert (prepared.image.shape, prepared.view.shape) == ((64, 64, 1), (48, 64, 1))
    assert prepared.image.flags.c_contiguous
    frames = Encoder().encode(prepared)
    read = Decoder([PreparedFrame]).decode([memoryview(frame) for frame in frames])
    assert isinstance(read, PreparedFrame)
    np.testing.assert_array_equal(read.image, prepared.image)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((60, 80), np.uint8), Reason.FRAME_BLACK),
        (np.full((60, 80), 255, np.uint8), Reason.FRAME_SATURATED),
        (noise(61, 80), Reason.FRAME_SIZE),
        (noise(1, 1), Reason.FRAME_SIZE),
        (noise().astype(np.uint16), Reason.FRAME_DEPTH),
        (np.zeros((60, 80, 2), np.uint8), Reason.FRAME_DEPTH),
    ],
)
def test_a_frame_that_cannot_be_used_fails_and_is_shown(
    stage: PreprocessingStage, image: np.ndarray, reason: Reason
) -> None:
    (failure,) = stage.take([captured(image)])
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.stage, failure.stamps) == (reason, "preprocessing", STAMPS)
    assert failure.text
    assert failure.view.ndim == 3
    assert failure.view.size > 0
    assert max(failure.view.shape[:2]) <= 64
    frames = Encoder().encode(failure)
    assert Decoder([Failure]).decode([memoryview(frame) for frame in frames]).part == failure.part


@pytest.mark.parametrize("shape", [(), (5,), (0, 0), (0, 80, 3), (2, 2, 2, 2)])
def test_what_is_no_picture_at_all_fails_without_a_view(
    stage: PreprocessingStage, shape: tuple[int, ...]
) -> None:
    (failure,) = stage.take([captured(np.zeros(shape, np.uint8))])
    assert isinstance(failure, Failure)
    assert failure.reason in (Reason.FRAME_SIZE, Reason.FRAME_DEPTH)
    assert failure.view.shape == (0, 0, 1)


def test_frames_as_they_come_off_the_wire_are_not_written_to(stage: PreprocessingStage) -> None:
    """They are read-only: an operation in place would fail here."""
    frames = [memoryview(bytes(memoryview(frame).cast("B"))) if isinstance(frame, np.ndarray)
              else memoryview(frame) for frame in Encoder().encode(captured(noise()))]  # fmt: skip
    read = Decoder([CapturedFrame]).decode(frames)
    assert isinstance(read, CapturedFrame)
    assert not read.image.flags.writeable
    (prepared,) = stage.take([read])
    assert isinstance(prepared, PreparedFrame)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, "None"),
        ({"camera.size_px": [256, 128]}, "128 x 256 pixels: the line expects 512 x 512"),
        ({"frame.bit_depth": 12}, "uint8 samples: a line of 12 bits expects uint16"),
    ],
)
def test_the_check_before_the_start_compares_the_cameras_frame(
    changes: dict[str, Any], fault: str
) -> None:
    (camera,) = check_line(load_line(line_file(3), list(changes.items())), ["camera"])
    assert (camera.subject, str(camera.fault)) == ("camera", fault)


def test_the_check_before_the_start_needs_no_light(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "1.png"), np.zeros((512, 512), np.uint8))
    folder = {"kind": "folder", "folder": str(tmp_path), "rate_hz": None}
    (camera,) = check_line(load_line(line_file(3), [("camera", folder)]), ["camera"])
    assert camera.fault is None


def test_nothing_is_due_by_time(stage: PreprocessingStage) -> None:
    order = LineOrder("s", LineState.RUNNING, "", 0, capture=True)
    assert list(stage.tick(0, order, True)) == []
    assert stage.report() == StageReport()
    stage.close()
