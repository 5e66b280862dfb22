"""The camera whose rate changes, with a clock that the test moves."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import pytest

from benchmarks.shown_camera import (
    SHOWN,
    SHOWN_DEFECTS,
    Phase,
    PhasedAcquisition,
    ShownCamera,
    frame_bytes,
    read_phase,
)
from pipeline.config_file import line_file, load_line
from pipeline.control import LineOrder, LineState
from pipeline.messages import Announcement, CapturedFrame
from pipeline.stage import StageContext
from stages.acquisition.shot import Shot, SystemClock
from stages.acquisition.simulation import PartRenderer

MS = 1_000_000
RUNNING = LineOrder("s", LineState.RUNNING, "test", 0, capture=True)


@pytest.fixture
def config(tmp_path: Path):
    changes = [
        ("run_folder", str(tmp_path)),
        ("camera.size_px", [128, 128]),
        ("camera.product", "brushed_metal"),
        ("frame.size_px", [128, 128]),
    ]
    return load_line(line_file(3), changes)


@pytest.fixture
def stage(config):
    def open_with(*phases: Phase) -> PhasedAcquisition:
        made = PhasedAcquisition(StageContext(config, "s", 0, logging.getLogger("shown")), phases)
        made.open()
        return made

    return open_with


@pytest.fixture
def shown(config):
    def read(share: float, count: int) -> list[Shot]:
        settings = config.camera.model_copy(update={"defect_share": share})
        camera = ShownCamera(settings, SystemClock())
        camera.open()
        return [camera.read(sequence, 0.0) for sequence in range(1, count + 1)]

    return read


def test_the_parts_are_those_of_the_simulated_camera_in_turn(shown, config):
    shots = shown(0.0, SHOWN + 1)
    renderer = PartRenderer("brushed_metal", (128, 128), config.camera.seed, 0.0)
    for shot, number in ((shots[0], 1), (shots[-2], 0), (shots[-1], 1)):
        assert np.array_equal(shot.image, renderer.render(number, None).image)
        assert shot.source == "brushed_metal/good"


@pytest.mark.parametrize(("share", "defective"), [(0.0, 0), (0.1, 4), (0.5, 20), (1.0, 40)])
def test_as_many_parts_are_defective_as_the_line_is_to_show(shown, share, defective):
    shots = shown(share, 40)
    assert sum(shot.truth.defective for shot in shots) == defective
    assert sum(shot.truth.defective for shot in shots[:20]) == defective / 2
    if defective > len(SHOWN_DEFECTS):
        kinds = {shot.truth.kind for shot in shots} - {None}
        assert kinds == set(SHOWN_DEFECTS)


def test_a_large_frame_is_scaled_up_to_its_size(config):
    settings = config.camera.model_copy(update={"size_px": (1100, 2200)})
    camera = ShownCamera(settings, SystemClock())
    camera.open()
    image = camera.read(1, 0.0).image
    assert image.shape[:2] == (1100, 2200)
    assert image.nbytes == frame_bytes(settings)


def test_phases_follow_one_another_with_one_count(stage):
    acquisition = stage(Phase(100.0, 2), Phase(None, 3), Phase(10.0, 1))
    now_ns, taken = 0, []
    while not acquisition.report().exhausted:
        for message in acquisition.tick(now_ns, RUNNING, True):
            if isinstance(message, Announcement):
                taken.append((message.part.sequence, now_ns // MS))
            else:
                assert isinstance(message, CapturedFrame)
        now_ns += MS
    assert [sequence for sequence, _ in taken] == [1, 2, 3, 4, 5, 6]
    times_ms = [at_ms for _, at_ms in taken]
    assert times_ms[1] - times_ms[0] == 10
    assert times_ms[5] - times_ms[1] == 4
    assert acquisition.tick(now_ns + 1000 * MS, RUNNING, True) == []


def test_without_order_to_capture_nothing_is_taken(stage):
    acquisition = stage(Phase(None, 1))
    waiting = LineOrder("s", LineState.READY, "test", 0)
    assert acquisition.tick(0, waiting, True) == ()
    assert acquisition.report().last_sequence == 0


def test_a_phase_reads_as_it_is_written():
    for phase in (Phase(None, 7), Phase(12.5, 100)):
        assert read_phase(str(phase)) == phase
    for wrong in ("0:10", "max", "5:0", "5:x"):
        with pytest.raises((argparse.ArgumentTypeError, ValueError)):
            read_phase(wrong)
