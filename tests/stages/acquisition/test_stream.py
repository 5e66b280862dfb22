"""The stream camera against a real MJPEG server that is slow, stalls, goes away and comes back."""

from __future__ import annotations

import re
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from camera_server import LEVELS, CameraServer
from pipeline import config
from pipeline.bell import Bell
from pipeline.messages import Reason
from stages.acquisition.shot import Clock, Shot, SystemClock
from stages.acquisition.stream import StreamCamera, shown_address

PATIENCE_S = 10.0


@pytest.fixture
def server() -> Iterator[CameraServer]:
    server = CameraServer()
    yield server
    server.close()


class WatchedClock(SystemClock):
    """The machine's clock, which tells how often a connection's thread asked for the time."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)

    def monotonic_ns(self) -> int:
        if threading.current_thread().name == "camera connection":
            self.asked.release()
        return super().monotonic_ns()


def stream(
    url: str,
    read_timeout_ms: int = 5000,
    queued_images: int = 64,
    clock: Clock | None = None,
    arrived: Callable[[], None] = lambda: None,
) -> StreamCamera:
    settings = config.StreamCamera(
        kind="stream",
        url=url,
        open_timeout_ms=5000,
        read_timeout_ms=read_timeout_ms,
        reconnect_ms=200,
        trigger="every_frame",
    )
    return StreamCamera(settings, clock or SystemClock(), queued_images, arrived)


@pytest.fixture
def camera(server: CameraServer) -> Iterator[StreamCamera]:
    camera = stream(server.url)
    camera.open()
    assert camera.read(1, 0) is None
    yield camera
    camera.close()


def take(camera: StreamCamera, count: int) -> list[Shot]:
    shots: list[Shot] = []
    for sequence in range(1, count + 1):
        shot = camera.read(sequence, PATIENCE_S)
        assert shot is not None, f"only {len(shots)} of {count} shots; {camera.warning}"
        shots.append(shot)
    return shots


def levels(shots: list[Shot]) -> list[int]:
    return [round(float(s.image.mean()) / 20) for s in shots if s.image is not None]


def wait_for_warning(camera: StreamCamera, pattern: str) -> None:
    """Wait for a warning of the camera's threads; the time only bounds a test that fails."""
    end = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not re.search(pattern, camera.warning):
        assert time.monotonic() < end, f"still {camera.warning!r}"
        pause.wait(0.005)


def test_every_frame_is_a_part_in_order_stamped_at_arrival(
    server: CameraServer, camera: StreamCamera
) -> None:
    before = time.monotonic_ns()
    server.send(20)
    shots = take(camera, 18)
    assert levels(shots) == [n % LEVELS for n in range(1, 19)]
    stamps = [shot.captured_monotonic_ns for shot in shots]
    assert stamps == sorted(stamps)
    assert before < stamps[0]
    assert stamps[-1] <= time.monotonic_ns()
    assert shots[0].source == server.url
    assert shots[0].truth is None
    assert camera.warning == ""
    assert not camera.exhausted


def test_whoever_waits_for_shots_is_told_that_there_are_some(server: CameraServer) -> None:
    bell = Bell()
    camera = stream(server.url, arrived=bell.ring)
    camera.open()
    assert camera.read(1, 0) is None
    server.send(3)
    assert select.select([bell], [], [], PATIENCE_S)[0]
    assert camera.read(1, 0) is not None
    camera.close()


def test_a_lost_camera_is_reconnected(server: CameraServer, camera: StreamCamera) -> None:
    server.send(6)
    take(camera, 4)
    server.close()
    wait_for_warning(camera, "trying again")
    assert f"127.0.0.1:{server.port}" in camera.warning
    back = CameraServer(server.port)
    try:
        assert back.clients.acquire(timeout=PATIENCE_S)
        back.send(10)
        shots = take(camera, 8)
        assert all(shot.image is not None for shot in shots)
        assert camera.warning == ""
    finally:
        back.close()


def test_a_stalled_camera_is_noticed_and_opened_again(server: CameraServer) -> None:
    camera = stream(server.url, read_timeout_ms=300)
    camera.open()
    try:
        assert camera.read(1, 0) is None
        assert server.clients.acquire(timeout=PATIENCE_S)
        server.send(6)
        take(camera, 4)
        wait_for_warning(camera, "trying again")
        assert server.clients.acquire(timeout=PATIENCE_S)
        server.send(6)
        take(camera, 4)
    finally:
        camera.close()


def test_an_absent_camera_is_a_warning_and_comes_when_it_comes() -> None:
    first = CameraServer()
    first.close()
    camera = stream(first.url)
    camera.open()
    try:
        assert camera.read(1, 0) is None
        wait_for_warning(camera, "did not open; trying again")
        late = CameraServer(first.port)
        try:
            late.send(6)
            assert levels(take(camera, 4)) == [1, 2, 3, 4]
        finally:
            late.close()
    finally:
        camera.close()


def test_frames_before_the_first_read_are_no_parts(server: CameraServer) -> None:
    clock = WatchedClock()
    camera = stream(server.url, clock=clock)
    camera.open()
    try:
        server.send(10)
        for _ in range(8):  # after opening, and for each of seven frames
            assert clock.asked.acquire(timeout=PATIENCE_S)
        assert camera.read(1, 0) is None
        server.send(1)
        first = levels(take(camera, 1))
        assert first >= [7]
    finally:
        camera.close()


def test_what_finds_no_room_keeps_its_part_but_not_its_image(server: CameraServer) -> None:
    camera = stream(server.url, queued_images=4)
    camera.open()
    try:
        assert camera.read(1, 0) is None
        server.send(12)
        wait_for_warning(camera, r"([6-8]) frames found no room and are UNINSPECTED$")
        shots = take(camera, 10)
        assert levels(shots) == [1, 2, 3, 4]
        faults = [shot.fault.reason for shot in shots if shot.fault is not None]
        assert faults == [Reason.OVERLOAD] * 6
    finally:
        camera.close()


def test_a_path_that_is_no_camera_is_a_warning(tmp_path: Path) -> None:
    camera = stream(str(tmp_path / "no_device"))
    camera.open()
    try:
        wait_for_warning(camera, "did not open")
    finally:
        camera.close()


def test_an_address_is_shown_without_its_secrets() -> None:
    assert shown_address("rtsp://u:p@10.0.0.1:554/a@b") == "rtsp://10.0.0.1:554/a@b"
    assert shown_address("rtsp://u:p@ss@cam/one") == "rtsp://cam/one"
    assert shown_address("http://cam/video?user=u&pwd=p") == "http://cam/video"
    assert shown_address("/dev/video0") == "/dev/video0"
