"""One connection to a live camera through OpenCV, watched from outside.

OpenCV never reconnects, and a call into a driver may block for ever. So a connection reads in a
thread of its own and is given up, not repaired, when it fails or stays silent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import cv2
import numpy as np

from stages.acquisition.shot import Clock

GRACE_MS = 500
"""Time beyond OpenCV's own time-outs, which end a call properly where the driver has them."""
_WATCH_S = 0.05


class Connection:
    """Opens `url` in a thread and passes each frame, (H, W, 3) BGR uint8, to `deliver`."""

    def __init__(
        self,
        url: str,
        open_timeout_ms: int,
        read_timeout_ms: int,
        *,
        clock: Clock,
        deliver: Callable[[np.ndarray], None],
    ) -> None:
        self._url = url
        self._open_timeout_ms = open_timeout_ms
        self._read_timeout_ms = read_timeout_ms
        self._clock = clock
        self._deliver = deliver
        self._given_up = threading.Event()
        self._opened = False
        self._alive_ns = clock.monotonic_ns()
        self._thread = threading.Thread(target=self._run, name="camera connection", daemon=True)
        self.frames = 0

    @property
    def ended(self) -> bool:
        """Whether the thread has ended, so that the camera is free again."""
        return not self._thread.is_alive()

    def watch(self, stop: threading.Event) -> str:
        """Read until the camera fails, stays silent, or `stop` is set; says what happened."""
        self._thread.start()
        while self._thread.is_alive() and not stop.is_set() and not self._is_silent():
            self._thread.join(_WATCH_S)
        silent = not self.ended
        self._given_up.set()
        if not self._opened:
            return f"did not open within {self._open_timeout_ms} ms" if silent else "did not open"
        if silent:
            return f"gave no frame for {self._read_timeout_ms} ms"
        return "stopped giving frames"

    def _is_silent(self) -> bool:
        allowed_ms = self._read_timeout_ms if self._opened else self._open_timeout_ms
        silence_ns = self._clock.monotonic_ns() - self._alive_ns
        return silence_ns > (allowed_ms + GRACE_MS) * 1_000_000

    def _run(self) -> None:
        capture = self._open()
        try:
            self._alive_ns = self._clock.monotonic_ns()
            self._opened = capture.isOpened()
            while self._opened and not self._given_up.is_set():
                got_one, image = capture.read()
                if not got_one:
                    return
                self._alive_ns = self._clock.monotonic_ns()
                if not self._given_up.is_set():
                    self.frames += 1
                    self._deliver(np.asarray(image))
        finally:
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        if "://" not in self._url:
            return cv2.VideoCapture(self._url, cv2.CAP_V4L2)
        timeouts = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            self._open_timeout_ms,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            self._read_timeout_ms,
        ]
        return cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, timeouts)
