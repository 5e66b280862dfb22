"""A connection whose driver hangs: watched and given up from outside."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import config
from stages.acquisition.connection import Connection
from stages.acquisition.shot import SystemClock
from stages.acquisition.stream import MOST_STUCK, StreamCamera

OPEN_TIMEOUT_MS = 100


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Path]:
    """A pipe without a writer: opening it outlasts OpenCV's time-outs, as a bad driver does."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    yield path
    release(path)


def release(pipe: Path) -> None:
    """Be the pipe's writer again and again, for a moment, until nobody hangs any more."""
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    wait_for_threads(0, meanwhile=lambda: os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)))
    os.close(reader)


def connection(url: str) -> Connection:
    times = (OPEN_TIMEOUT_MS, OPEN_TIMEOUT_MS)
    return Connection(url, *times, clock=SystemClock(), deliver=lambda _: None)


def camera_threads() -> int:
    return sum(thread.name == "camera connection" for thread in threading.enumerate())


def wait_for_threads(count: int, meanwhile: Callable[[], None] = lambda: None) -> None:
    end = time.monotonic() + 10
    pause = threading.Event()
    while camera_threads() != count:
        assert time.monotonic() < end, f"{camera_threads()} threads, not {count}"
        meanwhile()
        pause.wait(0.005)


def test_a_driver_that_hangs_is_given_up(hanging: Path) -> None:
    stuck = connection(f"file://{hanging}")
    assert stuck.watch(threading.Event()) == f"did not open within {OPEN_TIMEOUT_MS} ms"
    assert not stuck.ended
    release(hanging)
    assert stuck.ended
    assert stuck.frames == 0


def test_a_refusal_is_told_from_silence() -> None:
    refused = connection("http://127.0.0.1:9/video")
    assert refused.watch(threading.Event()) == "did not open"
    assert refused.ended


def test_stopping_does_not_wait_for_the_driver(hanging: Path) -> None:
    stop = threading.Event()
    stop.set()
    begin = time.monotonic()
    connection(f"file://{hanging}").watch(stop)
    assert time.monotonic() - begin < OPEN_TIMEOUT_MS / 1000


@pytest.mark.slow
def test_a_driver_that_always_hangs_ties_up_a_few_threads_only(hanging: Path) -> None:
    settings = config.StreamCamera(
        kind="stream",
        url=f"file://{hanging}",
        open_timeout_ms=OPEN_TIMEOUT_MS,
        read_timeout_ms=OPEN_TIMEOUT_MS,
        reconnect_ms=100,
        trigger="every_frame",
    )
    camera = StreamCamera(settings, SystemClock())
    camera.open()
    wait_for_threads(MOST_STUCK)
    assert f"did not open within {OPEN_TIMEOUT_MS} ms" in camera.warning
    threading.Event().wait(1.0)  # time for one more connection, which must not come
    assert camera_threads() == MOST_STUCK
    camera.close()
    release(hanging)
