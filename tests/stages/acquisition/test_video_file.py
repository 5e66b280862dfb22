"""A video file as a camera."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from pipeline.errors import InputError
from stages.acquisition.video_file import VideoFileCamera, video_file

if TYPE_CHECKING:
    from .conftest import FakeClock

FRAMES = 6


def film(path: Path) -> Path:
    """A film whose frame n has the grey level 30 * n."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(1, FRAMES + 1):
        writer.write(np.full((48, 64, 3), 30 * number, np.uint8))
    writer.release()
    return path


def opened(path: Path, clock: FakeClock) -> VideoFileCamera:
    camera = VideoFileCamera(path, clock)
    camera.open()
    return camera


def shown(camera: VideoFileCamera, sequence: int) -> int:
    shot = camera.read(sequence, 0)
    assert shot is not None
    assert shot.image is not None
    assert shot.image.shape == (48, 64, 3)
    return round(float(shot.image.mean()) / 30)


def test_each_frame_is_a_part_and_the_file_ends(tmp_path: Path, clock: FakeClock) -> None:
    camera = opened(film(tmp_path / "film.avi"), clock)
    assert [shown(camera, n) for n in range(1, FRAMES + 1)] == list(range(1, FRAMES + 1))
    assert not camera.exhausted
    assert camera.read(FRAMES + 1, 0) is None
    assert camera.exhausted
    camera.close()


def test_a_restarted_camera_goes_on_where_it_was(tmp_path: Path, clock: FakeClock) -> None:
    camera = opened(film(tmp_path / "film.avi"), clock)
    assert shown(camera, 4) == 4
    assert shown(camera, 5) == 5
    camera.close()


def test_no_file_and_no_film_are_input_errors(tmp_path: Path, clock: FakeClock) -> None:
    with pytest.raises(InputError, match="no such video file"):
        opened(tmp_path / "away.avi", clock)
    (tmp_path / "film.avi").write_bytes(b"no film")
    with pytest.raises(InputError, match="not a video"):
        opened(tmp_path / "film.avi", clock)


def test_addresses_and_devices_are_no_files() -> None:
    assert video_file("films/a.mp4") == Path("films/a.mp4")
    assert video_file("file:///films/a.mp4") == Path("/films/a.mp4")
    assert video_file("rtsp://10.0.0.1/one") is None
    assert video_file("/dev/video0") is None
