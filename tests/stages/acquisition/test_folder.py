"""The folder camera: order, restart, broken files and truth."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from pipeline import config
from pipeline.errors import InputError
from pipeline.messages import Reason, Truth
from stages.acquisition.folder import FolderCamera, truth_of

if TYPE_CHECKING:
    from .conftest import FakeClock


def folder_of(tmp_path: Path, names: list[str]) -> Path:
    for number, name in enumerate(names, start=1):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(tmp_path / name), np.full((20, 30), number, np.uint8))
    return tmp_path


def opened(folder: Path, clock: FakeClock, repeat: bool = False) -> FolderCamera:
    settings = config.FolderCamera(kind="folder", folder=folder, rate_hz=None, repeat=repeat)
    camera = FolderCamera(settings, 30, clock)
    camera.open()
    return camera


def test_files_come_in_natural_order_and_end(tmp_path: Path, clock: FakeClock) -> None:
    camera = opened(folder_of(tmp_path, ["2.png", "10.png", "a/1.png"]), clock)
    names = []
    for sequence in (1, 2, 3):
        assert not camera.exhausted
        shot = camera.read(sequence, 0)
        assert shot is not None
        assert shot.image is not None
        assert shot.captured_monotonic_ns == clock.monotonic_ns()
        assert shot.captured_wall_ns == clock.wall_ns()
        names.append(Path(shot.source).relative_to(tmp_path).as_posix())
    assert names == ["2.png", "10.png", "a/1.png"]
    assert camera.exhausted
    assert camera.read(4, 0) is None


def test_a_restarted_camera_goes_on_where_it_was(tmp_path: Path, clock: FakeClock) -> None:
    folder = folder_of(tmp_path, ["1.png", "2.png", "3.png"])
    shot = opened(folder, clock).read(2, 0)
    assert shot is not None
    assert shot.image is not None
    assert shot.image[0, 0] == 2
    finished = opened(folder, clock)
    assert finished.read(4, 0) is None
    assert finished.exhausted


def test_a_repeating_folder_never_ends(tmp_path: Path, clock: FakeClock) -> None:
    camera = opened(folder_of(tmp_path, ["1.png", "2.png", "3.png"]), clock, repeat=True)
    shown = []
    for sequence in (1, 3, 4, 7, 3_000_002):
        shot = camera.read(sequence, 0)
        assert shot is not None
        assert shot.image is not None
        shown.append(int(shot.image[0, 0]))
    assert shown == [1, 3, 1, 1, 2]
    assert not camera.exhausted


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_a_broken_file_is_a_part_with_a_fault(
    content: bytes, tmp_path: Path, clock: FakeClock
) -> None:
    folder = folder_of(tmp_path, ["1.png", "2.png", "3.png"])
    (folder / "2.png").write_bytes(content)
    camera = opened(folder, clock)
    shot = camera.read(2, 0)
    assert shot is not None
    assert shot.image is None
    assert shot.fault is not None
    assert shot.fault.reason == Reason.FRAME_UNREADABLE
    assert str(shot.fault).startswith("2.png: ")
    assert shot.source == str(folder / "2.png")
    after = camera.read(3, 0)
    assert after is not None
    assert after.fault is None


def test_names_that_are_not_utf_8_are_shown_with_their_bytes(
    tmp_path: Path, clock: FakeClock
) -> None:
    folder = folder_of(tmp_path, ["test/good/1.png", "test/kind/1.png", "test/kind/2.png"])
    (folder / "test" / "kind" / "2.png").write_bytes(b"")
    for name in ("1", "2"):
        latin_1 = folder / "test" / "kind" / os.fsdecode(b"Geh\xe4use_%s.png" % name.encode())
        (folder / "test" / "kind" / f"{name}.png").rename(latin_1)
    (folder / "test" / "kind").rename(folder / "test" / os.fsdecode(b"Riss gro\xdf"))
    camera = opened(folder, clock)
    readable, broken = camera.read(2, 0), camera.read(3, 0)
    assert readable is not None
    assert readable.image is not None
    assert readable.source == f"{folder}/test/Riss gro\\xdf/Geh\\xe4use_1.png"
    assert readable.truth == Truth(defective=True, kind="Riss gro\\xdf")
    assert broken is not None
    assert str(broken.fault) == "Geh\\xe4use_2.png: the file is empty"


def test_a_file_that_vanished_is_a_part_with_a_fault(tmp_path: Path, clock: FakeClock) -> None:
    folder = folder_of(tmp_path, ["1.png", "2.png"])
    camera = opened(folder, clock)
    (folder / "2.png").unlink()
    shot = camera.read(2, 0)
    assert shot is not None
    assert shot.fault is not None
    assert shot.fault.reason == Reason.FRAME_UNREADABLE


def test_no_folder_no_files_and_no_readable_file_are_input_errors(
    tmp_path: Path, clock: FakeClock
) -> None:
    with pytest.raises(InputError, match="not a folder"):
        opened(tmp_path / "away", clock)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="0 image files"):
        opened(tmp_path, clock)
    for number in range(60):
        (tmp_path / f"{number}.png").write_bytes(b"")
    with pytest.raises(InputError, match="60 image files, 0 of the first 50") as caught:
        opened(tmp_path, clock)
    assert "49.png: the file is empty" in str(caught.value)
    assert caught.value.exit_code == 2


def test_truth_comes_from_the_mvtec_layout(tmp_path: Path, clock: FakeClock) -> None:
    names = ["train/good/1.png", "test/good/1.png", "test/crack/1.png", "ground_truth/crack/1.png"]
    camera = opened(folder_of(tmp_path, names), clock)
    truths = {}
    for sequence in (1, 2, 3):
        shot = camera.read(sequence, 0)
        assert shot is not None
        truths[Path(shot.source).relative_to(tmp_path).parent.as_posix()] = shot.truth
    assert camera.exhausted
    assert truths == {
        "train/good": Truth(defective=False),
        "test/good": Truth(defective=False),
        "test/crack": Truth(defective=True, kind="crack"),
    }


def test_truth_is_known_also_where_one_kind_alone_is_shown(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, ["test/good/1.png", "test/crack/1.png"])
    assert truth_of(folder / "test" / "crack" / "1.png") == Truth(defective=True, kind="crack")


@pytest.mark.parametrize("name", ["1.png", "good/1.png", "test/monday/1.png", "test/1.png"])
def test_elsewhere_nobody_knows_the_truth(name: str, tmp_path: Path) -> None:
    assert truth_of(folder_of(tmp_path, [name]) / name) is None
