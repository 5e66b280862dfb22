"""A local video file as a camera: each frame is a part, and the file ends."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import FrameError, InputError
from pipeline.messages import Reason
from stages.acquisition.shot import Clock, Shot


def video_file(url: str) -> Path | None:
    """The local file that an address means, or None for a network address or a device."""
    path = url.removeprefix("file://")
    if "://" in path or path.startswith("/dev/"):
        return None
    return Path(path)


class VideoFileCamera:
    """Shows frame n of the file as part n, also after a restart."""

    live = False
    warning = away = ""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._capture: cv2.VideoCapture | None = None
        self._position = 0
        self.exhausted = False

    def open(self) -> None:
        """Open the file. Raises InputError where there is none or OpenCV cannot play it."""
        if not self._path.is_file():
            raise InputError(f"{self._path}: no such video file; check camera.url")
        self._capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise InputError(f"{self._path}: not a video that OpenCV can play")

    def read(self, sequence: int, timeout_s: float) -> Shot | None:
        """Frame `sequence`, from 1, (H, W, 3) BGR; None behind the last one."""
        if not self._wind_to(sequence):
            self.exhausted = True
            return None
        image = self._decoded()
        damaged = FrameError(Reason.FRAME_UNREADABLE, f"frame {sequence} cannot be decoded")
        return Shot(
            image=image,
            fault=damaged if image is None else None,
            source=str(self._path),
            truth=None,
            captured_monotonic_ns=self._clock.monotonic_ns(),
            captured_wall_ns=self._clock.wall_ns(),
        )

    def close(self) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _wind_to(self, sequence: int) -> bool:
        """Go forward to a frame; False where the file ends before it."""
        assert self._capture is not None, "open the camera first"
        assert sequence > self._position, "a video file is read forwards only"
        while self._position < sequence:
            if not self._capture.grab():
                return False
            self._position += 1
        return True

    def _decoded(self) -> np.ndarray | None:
        assert self._capture is not None, "open the camera first"
        decoded, image = self._capture.retrieve()
        return np.asarray(image) if decoded else None
