"""What is put inside the line's processes does what it says, and nothing while it is off."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from chaos import inside
from chaos.switches import CAMERA, CLOCK, ENVIRONMENT, OBEYED, Switches
from pipeline.errors import WireError
from pipeline.messages import CapturedFrame, Part
from pipeline.wire import Decoder, Encoder

ROOT = Path(__file__).resolve().parents[2]


def frames() -> list[bytes]:
    image = np.zeros((8, 8), np.uint8)
    message = CapturedFrame(Part(3, "20261122-071502-3f9a", 7), 9, image)
    return [bytes(frame) for frame in Encoder().encode(message)]


@pytest.mark.parametrize("damage", inside.DAMAGES, ids=lambda damage: damage.__name__)
def test_no_consumer_takes_a_damaged_message_for_a_whole_one(damage):
    decoder, drawn = Decoder([CapturedFrame]), random.Random(1)
    assert decoder.decode(frames()).part.sequence == 7

    for _ in range(200):
        spoiled = damage(frames(), drawn)
        if spoiled != frames():
            with pytest.raises(WireError):
                decoder.decode(spoiled)


def test_the_camera_obeys_its_switch(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(inside.time, "sleep", slept.append)
    mode = [0]
    shows = inside.disturbed(lambda _camera, sequence, _s: sequence, lambda: mode[0], random)

    seen = {}
    for mode[0] in (0, inside.STOPPED, inside.STUTTERING, inside.REPEATING, inside.REORDERING):
        seen[mode[0]] = [shows(None, sequence, 0.0) for sequence in (1, 2, 3, 4)]

    assert seen[0] == [1, 2, 3, 4]
    assert seen[inside.STOPPED] == [None] * 4
    assert seen[inside.STUTTERING] == [1, 2, 3, 4]
    assert len(slept) == 4
    assert seen[inside.REPEATING] == [1, 1, 2, 3]
    assert seen[inside.REORDERING] == [2, 1, 4, 3]


def test_switches_are_seen_by_every_process(tmp_path):
    mine, theirs = Switches(tmp_path / "switches"), Switches(tmp_path / "switches")
    mine[CAMERA] = 3

    assert (theirs[CAMERA], theirs[CLOCK]) == (3, 0)


def test_the_campaign_is_told_that_a_switch_is_obeyed(tmp_path):
    mine, theirs = Switches(tmp_path / "switches"), Switches(tmp_path / "switches")
    assert theirs.obeyed(CLOCK) == 0
    assert mine[OBEYED] == 0

    mine[CLOCK] = -5

    assert theirs.obeyed(CLOCK) == -5
    assert mine[OBEYED] == 1


def test_a_python_process_behind_the_doorway_has_another_hour(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "from chaos.inside import enter\n\nenter()\n", encoding="ascii"
    )
    Switches(tmp_path / "switches")[CLOCK] = -3_600_000_000_000
    environment = {
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        ENVIRONMENT: str(tmp_path / "switches"),
    }

    said = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time_ns(), time.monotonic_ns())"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert abs(time.time() - 3600 - int(said[0]) / 1e9) < 60
    assert abs(time.monotonic() - int(said[1]) / 1e9) < 60
