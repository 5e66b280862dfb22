"""The stranger is let in by ZeroMQ itself: what it steals is stolen, what it says arrives."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from chaos import stranger
from pipeline.control import LineOrder, LineState
from pipeline.errors import WireError
from pipeline.wire import StageControl, SupervisorControl, new_context


def test_a_speaker_reaches_the_supervisors_socket_and_does_no_harm(tmp_path: Path) -> None:
    context = new_context()
    control = SupervisorControl(context, tmp_path)
    opening = stranger.GREETING + stranger.ready(b"PUSH")
    words = stranger.Words(opening, stranger.frame(b"no beat"))
    peer = stranger.knock(tmp_path / "control.beats", words)

    assert peer is not None
    with pytest.raises(WireError, match="beat cannot be read"):
        control.beat(5000)
    peer.close()
    control.close()
    context.term()


def test_noise_and_endless_frames_leave_the_socket_alive(tmp_path: Path) -> None:
    context = new_context()
    control = SupervisorControl(context, tmp_path)
    drawn = random.Random(3)
    for name in ("control.beats", "control.orders"):
        for say in (stranger.noise, stranger.speech, stranger.theft):
            for _ in range(10):
                peer = stranger.knock(tmp_path / name, say(tmp_path / name, drawn))
                assert peer is not None
                peer.close()

    stage = StageControl(context, tmp_path)
    order = LineOrder("s", LineState.RUNNING, "", 1)
    for _ in range(100):
        control.order(order)
        if stage.socket.poll(50):
            break

    assert stage.order() == order
    stage.close()
    control.close()
    context.term()


def test_nobody_listens_at_a_file_that_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    assert stranger.knock(tmp_path / "file", stranger.Words(b"x")) is None
