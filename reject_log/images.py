"""The pictures of a part: what the camera saw, what the networks made of it, and where they differ.

They lie in `<data_folder>/images/<session>/<YYYYMMDD-HH>/<part_id>_<kind>.<ending>`, the hour in
UTC when the picture was written. The frame is PNG: it is the evidence, a fine scratch must not
drown in compression, and only few parts are kept. Reconstruction and heat map are made for
looking at and are JPEG at quality 92, a sixth of the size.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from pipeline.config import LineConfig
from pipeline.messages import Defect, Evidence, Part, VerdictRecord
from reject_log.reserve import FOR_VERDICTS

JPEG_QUALITY = 92
HEAT_OPACITY = 0.7
"""Share of the colour where the defect is certain; it falls with the root of the probability."""
_BOX_BGR = (255, 255, 255)
_BOX_MARGIN_PX = 3
_UNFINISHED = ".unfinished"


class Picture(StrEnum):
    """The kinds of pictures of a part."""

    FRAME = "frame"
    RECONSTRUCTION = "reconstruction"
    HEAT = "heat"

    @property
    def ending(self) -> str:
        """The ending of its files."""
        return "png" if self is Picture.FRAME else "jpg"


def images_folder(config: LineConfig) -> Path:
    """The folder of all pictures of a line."""
    return config.data_folder / "images"


def picture_path(folder: Path, part: Part, hour: str, picture: Picture) -> Path:
    """Where a picture written in `hour` (`YYYYMMDD-HH`, UTC) lies below `images_folder`."""
    return folder / part.session / hour / f"{part.part_id}_{picture}.{picture.ending}"


def hour_of(wall_ns: int) -> str:
    """The hour of a wall time as a folder's name, `YYYYMMDD-HH` in UTC."""
    return time.strftime("%Y%m%d-%H", time.gmtime(wall_ns // 1_000_000_000))


def find_pictures(folder: Path, record: VerdictRecord) -> dict[Picture, Path]:
    """The pictures of a part that are there; evidence may have been dropped, or deleted since.

    They are written soon after the decision, so its hour and those behind it are tried first.
    """
    if not record.has_images:
        return {}
    decided = hour_of(record.decided_wall_ns)
    session = folder / record.part.session
    for hour in sorted(_hours(session), key=lambda hour: (hour < decided, hour)):
        paths = {kind: picture_path(folder, record.part, hour, kind) for kind in Picture}
        found = {kind: path for kind, path in paths.items() if path.is_file()}
        if found:
            return found
    return {}


@lru_cache(maxsize=1)
def _hours_at(session: Path, changed_ns: int) -> tuple[str, ...]:
    return tuple(entry.name for entry in os.scandir(session) if entry.is_dir())


def _hours(session: Path) -> tuple[str, ...]:
    try:
        return _hours_at(session, session.stat().st_mtime_ns)
    except FileNotFoundError:
        return ()


class ImageWriter:
    """Writes pictures. What goes wrong is logged and counted, and never stops the recorder.

    `failed`: parts whose pictures could not be stored; `problem`: why the latest part's could not,
    empty when they could.
    """

    def __init__(
        self, folder: Path, log: logging.Logger, clock_wall_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._folder = folder
        self._log = log
        self._clock_wall_ns = clock_wall_ns
        self.failed = 0
        self.problem = ""

    def clear_unfinished(self) -> None:
        """Delete what a killed writer left half written."""
        for file in (self._folder / _UNFINISHED).glob("*"):
            try:
                file.unlink()
            except OSError as error:
                self._log.warning("unfinished picture %s stays: %s", file, error)

    def write(self, evidence: Evidence) -> None:
        """Store the pictures of one part; those whose arrays are empty are left out."""
        hour = hour_of(self._clock_wall_ns())
        part_id = evidence.part.part_id
        try:
            self._leave_room()
            for picture, image in draw(evidence):
                path = picture_path(self._folder, evidence.part, hour, picture)
                self._write_file(path, encode(image, picture))
            self.problem = ""
        except (OSError, cv2.error) as error:
            self.failed += 1
            self.problem = getattr(error, "strerror", None) or str(error)
            self._log.error("part %s: its pictures could not be stored: %s", part_id, error)

    def _leave_room(self) -> None:
        """Raises OSError where what is left of the disk belongs to the verdicts."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if lack := FOR_VERDICTS.lack(self._folder):
            raise OSError(errno.ENOSPC, f"{lack}, which are kept for the verdicts")

    def _write_file(self, path: Path, data: bytes) -> None:
        unfinished = self._folder / _UNFINISHED / path.name
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(data)
            unfinished.replace(path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise


def draw(evidence: Evidence) -> Iterator[tuple[Picture, np.ndarray]]:
    """The pictures that the evidence has, as (h, w) or (h, w, 3) BGR uint8 for `encode`."""
    if _is_there(evidence.view):
        yield Picture.FRAME, _to_bgr(evidence.view)
    if _is_there(evidence.reconstruction):
        yield Picture.RECONSTRUCTION, _to_bgr(evidence.reconstruction)
    if _is_there(evidence.view) and _is_there(evidence.anomaly_map):
        yield Picture.HEAT, heat_picture(evidence.view, evidence.anomaly_map, evidence.defects)


def heat_picture(
    view: np.ndarray, anomaly_map: np.ndarray, defects: tuple[Defect, ...]
) -> np.ndarray:
    """The anomaly map in colour over the grey view, with a box around each defect.

    `view`: (h, w, 1 or 3) uint8, RGB or grey. `anomaly_map`: (H, W) in [0, 1], stretched to the
    view; values that are not finite count as 1. Defects are in pixels of the view. Gives
    (h, w, 3) BGR uint8.
    """
    height, width = view.shape[:2]
    clean = np.nan_to_num(anomaly_map.astype(np.float32), nan=1.0, posinf=1.0, neginf=0.0)
    heat = cv2.resize(np.clip(clean, 0.0, 1.0), (width, height), interpolation=cv2.INTER_LINEAR)
    colour = cv2.applyColorMap(np.round(heat * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    grey = cv2.cvtColor(_to_grey(view), cv2.COLOR_GRAY2BGR)
    opacity = HEAT_OPACITY * np.sqrt(heat)[:, :, np.newaxis]
    picture = np.round(grey * (1 - opacity) + colour * opacity).astype(np.uint8)
    for defect in defects:
        _draw_box(picture, defect)
    return picture


def encode(image: np.ndarray, picture: Picture) -> bytes:
    """A picture as the bytes of its file. Raises cv2.error where the array is no picture."""
    options = [] if picture.ending == "png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, data = cv2.imencode(f".{picture.ending}", image, options)
    return data.tobytes()


def _is_there(array: np.ndarray) -> bool:
    return array.size > 0


def _to_bgr(image: np.ndarray) -> np.ndarray:
    return image[:, :, 0] if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)


def _to_grey(image: np.ndarray) -> np.ndarray:
    return image[:, :, 0] if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _draw_box(picture: np.ndarray, defect: Defect) -> None:
    top_left = (defect.x_px - _BOX_MARGIN_PX, defect.y_px - _BOX_MARGIN_PX)
    bottom_right = (
        defect.x_px + defect.width_px - 1 + _BOX_MARGIN_PX,
        defect.y_px + defect.height_px - 1 + _BOX_MARGIN_PX,
    )
    thickness = max(1, round(min(picture.shape[:2]) / 400))
    cv2.rectangle(picture, top_left, bottom_right, _BOX_BGR, thickness)
