"""From a configuration to the camera that it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.config import LineConfig
from pipeline.config_file import CONFIGS, load_line
from pipeline.errors import InputError
from stages.acquisition.camera import open_camera
from stages.acquisition.folder import FolderCamera
from stages.acquisition.simulated import SimulatedCamera
from stages.acquisition.stream import StreamCamera


def line(camera: dict[str, Any]) -> LineConfig:
    return load_line(CONFIGS / "line_3.yaml", [("camera", camera)])


def stream(url: str) -> LineConfig:
    times = {"open_timeout_ms": 200, "read_timeout_ms": 200, "reconnect_ms": 100}
    return line({"kind": "stream", "url": url, "trigger": "every_frame", **times})


def test_the_shipped_line_has_a_simulated_camera() -> None:
    camera = open_camera(load_line(CONFIGS / "line_3.yaml", [("camera.size_px", [128, 128])]))
    assert isinstance(camera, SimulatedCamera)
    assert camera.read(1, 0).image is not None
    assert not camera.live


def test_a_folder_is_opened_with_the_lines_limit(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "1.png"), np.zeros((200, 200), np.uint8))
    config = line({"kind": "folder", "folder": str(tmp_path), "rate_hz": None})
    assert isinstance(open_camera(config), FolderCamera)
    small = config.model_copy(
        update={"frame": config.frame.model_copy(update={"max_megapixels": 0.03})}
    )
    with pytest.raises(InputError, match="max_megapixels"):
        open_camera(small)


def test_an_address_is_a_live_stream_that_may_be_away() -> None:
    camera = open_camera(stream("http://127.0.0.1:9/video"))
    assert isinstance(camera, StreamCamera)
    assert camera.live
    camera.close()


def test_a_path_is_a_film_that_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such video file"):
        open_camera(stream(str(tmp_path / "away.mp4")))
