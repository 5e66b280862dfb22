"""What acquisition asks of a camera, and which camera a configuration means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pipeline import config as configuration
from pipeline.config import LineConfig
from stages.acquisition.folder import FolderCamera
from stages.acquisition.shot import Clock, Shot, SystemClock
from stages.acquisition.simulated import SimulatedCamera
from stages.acquisition.stream import StreamCamera
from stages.acquisition.video_file import VideoFileCamera, video_file

__all__ = ["Camera", "Clock", "Shot", "SystemClock", "open_camera"]


class Camera(Protocol):
    """A source of shots.

    `live`: frames come by themselves, and are lost when nobody takes them. `exhausted`: there
    will be no further shot. `warning`: one sentence for the operator while the camera is away or
    overrun, else empty. `away`: that sentence while it shows no part because it is away.
    """

    @property
    def live(self) -> bool: ...

    @property
    def exhausted(self) -> bool: ...

    @property
    def warning(self) -> str: ...

    @property
    def away(self) -> str: ...

    def open(self) -> None:
        """Get ready. Raises InputError or ConfigError where no part can ever come."""

    def read(self, sequence: int, timeout_s: float) -> Shot | None:
        """The shot of part `sequence`; None: nothing within the time-out, ask again."""

    def close(self) -> None:
        """Let go of files, threads and connections."""


def open_camera(
    config: LineConfig, clock: Clock | None = None, arrived: Callable[[], None] = lambda: None
) -> Camera:
    """The camera that a line is configured with, opened. Raises what its `open` raises.

    `arrived`: called, by any thread, when a live camera has a shot that was not asked for yet.
    """
    camera = _camera(config, clock or SystemClock(), arrived)
    camera.open()
    return camera


def _camera(config: LineConfig, clock: Clock, arrived: Callable[[], None]) -> Camera:
    match config.camera:
        case configuration.SimulatedCamera() as settings:
            return SimulatedCamera(settings, clock)
        case configuration.FolderCamera() as settings:
            return FolderCamera(settings, config.frame.max_megapixels, clock)
        case configuration.StreamCamera() as settings:
            file = video_file(settings.url)
            if file:
                return VideoFileCamera(file, clock)
            return StreamCamera(settings, clock, arrived=arrived)
