"""A folder of image files as a camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline import config as configuration
from pipeline.errors import FrameError, InputError
from pipeline.messages import Truth
from pipeline.names import printable
from stages.acquisition.shot import Clock, Shot
from stages.image_files import image_files, read_image

TRIED_AT_OPEN = 50
"""Files that are tried when the folder is opened; one readable file is enough."""


class FolderCamera:
    """Shows the files of a folder in natural order: part n is file n, also after a restart."""

    live = False
    warning = away = ""

    def __init__(
        self, settings: configuration.FolderCamera, max_megapixels: float, clock: Clock
    ) -> None:
        self._settings = settings
        self._max_megapixels = max_megapixels
        self._clock = clock
        self._files: list[Path] = []
        self._asked = 0

    @property
    def exhausted(self) -> bool:
        """Whether the last file was asked for, and the folder does not repeat."""
        return not self._settings.repeat and self._asked >= len(self._files)

    def open(self) -> None:
        """Look through the folder. Raises InputError where it holds no readable image."""
        folder = self._settings.folder
        self._files = image_files(folder)
        if not self._files:
            raise InputError(
                f"{folder}: 0 image files; put png, jpg, jpeg, bmp, tif or tiff files there"
            )
        self._try_files()

    def read(self, sequence: int, timeout_s: float) -> Shot | None:
        """File `sequence`, from 1; None behind the last one."""
        self._asked = max(self._asked, sequence)
        count = len(self._files)
        if sequence > count and not self._settings.repeat:
            return None
        path = self._files[(sequence - 1) % count]
        image, fault = self._image(path)
        return Shot(
            image=image,
            fault=fault,
            source=printable(str(path)),
            truth=truth_of(path),
            captured_monotonic_ns=self._clock.monotonic_ns(),
            captured_wall_ns=self._clock.wall_ns(),
        )

    def close(self) -> None:
        """Nothing stays open."""

    def _image(self, path: Path) -> tuple[np.ndarray | None, FrameError | None]:
        try:
            return read_image(path, self._max_megapixels), None
        except FrameError as error:
            return None, FrameError(error.reason, f"{printable(path.name)}: {error}")

    def _try_files(self) -> None:
        """One readable file is enough; unreadable ones become UNINSPECTED parts later."""
        tried = self._files[:TRIED_AT_OPEN]
        for path in tried:
            image, fault = self._image(path)
            if image is not None:
                return
        raise InputError(
            f"{self._settings.folder}: {len(self._files)} image files, 0 of the first "
            f"{len(tried)} can be read; the last of these: {fault}. Check the files."
        )


def truth_of(path: Path) -> Truth | None:
    """What the MVTec layout says of a file: `train/good`, `test/good` or `test/<kind of defect>`.

    None outside of that layout; it is recognised by a folder `good` in its train or test folder.
    """
    kind, split = path.parent, path.parent.parent
    if split.name not in ("train", "test"):
        return None
    if kind.name == "good":
        return Truth(defective=False)
    if split.name == "test" and _is_mvtec(split.parent):
        return Truth(defective=True, kind=printable(kind.name))
    return None


def _is_mvtec(root: Path) -> bool:
    return (root / "train" / "good").is_dir() or (root / "test" / "good").is_dir()
