from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.messages import Defect, Evidence, Part, Verdict
from reject_log.images import ImageWriter, Picture, find_pictures, heat_picture, hour_of

SESSION = "20261122-071502-3f9a"
DECIDED_NS = 1_795_331_702 * 1_000_000_000
HOUR_NS = 3600 * 1_000_000_000
LOG = logging.getLogger("recorder")
NOTHING = np.zeros((0, 0, 1), np.uint8)
NO_MAP = np.zeros((0, 0), np.float16)


def evidence(view, reconstruction=NOTHING, anomaly_map=NO_MAP, defects=(), sequence=1):
    part = Part(3, SESSION, sequence)
    return Evidence(part, Verdict.REJECT, defects, view, reconstruction, anomaly_map)


def writer(folder: Path, wall_ns: int = DECIDED_NS) -> ImageWriter:
    return ImageWriter(folder, LOG, lambda: wall_ns)


@pytest.fixture
def colour_view():
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_the_pictures_lie_where_the_record_finds_them(tmp_path, make_record, colour_view):
    anomaly_map = np.zeros((32, 32), np.float16)
    writer(tmp_path).write(evidence(colour_view, colour_view[:32, :32], anomaly_map))
    found = find_pictures(tmp_path, make_record(1, has_images=True))
    stem = tmp_path / SESSION / "20261122-07" / f"L3-{SESSION}-000001"
    assert found == {
        Picture.FRAME: Path(f"{stem}_frame.png"),
        Picture.RECONSTRUCTION: Path(f"{stem}_reconstruction.jpg"),
        Picture.HEAT: Path(f"{stem}_heat.jpg"),
    }
    assert find_pictures(tmp_path, make_record(1, has_images=False)) == {}
    assert find_pictures(tmp_path, make_record(2, has_images=True)) == {}


def test_frame_is_lossless_and_keeps_its_colours(tmp_path, make_record, colour_view):
    writer(tmp_path).write(evidence(colour_view))
    found = find_pictures(tmp_path, make_record(1, has_images=True))
    assert list(found) == [Picture.FRAME]
    decoded = cv2.imread(str(found[Picture.FRAME]), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded[:, :, ::-1], colour_view)


def test_grey_frame_stays_grey(tmp_path, make_record, colour_view):
    grey = colour_view[:, :, :1]
    writer(tmp_path).write(evidence(grey))
    found = find_pictures(tmp_path, make_record(1, has_images=True))
    decoded = cv2.imread(str(found[Picture.FRAME]), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, grey[:, :, 0])


def test_reconstruction_is_close_and_has_its_own_size(tmp_path, make_record):
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    red_ramp = np.stack([np.tile(ramp, (64, 1)), *[np.zeros((64, 64), np.uint8)] * 2], axis=2)
    view = np.full((40, 80, 1), 90, np.uint8)
    writer(tmp_path).write(evidence(view, red_ramp))
    path = find_pictures(tmp_path, make_record(1, has_images=True))[Picture.RECONSTRUCTION]
    decoded = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:, :, ::-1]
    assert np.abs(decoded.astype(int) - red_ramp).mean() < 3
    assert decoded[:, -1, 0].mean() > 240
    assert decoded[:, -1, 2].mean() < 15


def test_heat_is_grey_where_nothing_is_and_red_at_the_defect():
    view = np.full((100, 200, 1), 128, np.uint8)
    anomaly_map = np.zeros((50, 50), np.float16)
    anomaly_map[20:30, 30:35] = 1.0
    picture = heat_picture(view, anomaly_map, ())
    assert picture.shape == (100, 200, 3)
    np.testing.assert_array_equal(picture[90, 10], (128, 128, 128))
    blue, green, red = (int(value) for value in picture[50, 130])
    assert red > green + 50
    assert red > blue + 50


def test_a_box_stands_around_each_defect_also_at_the_edge():
    view = np.full((100, 200, 3), 40, np.uint8)
    defects = (Defect(50, 40, 20, 10, 150, 0.9), Defect(190, 95, 10, 5, 40, 0.8))
    picture = heat_picture(view, np.zeros((32, 32), np.float16), defects)
    white = np.all(picture == 255, axis=2)
    assert white[37, 47:73].all()
    assert white[52, 47:73].all()
    assert white[37:53, 47].all()
    assert white[37:53, 72].all()
    assert not white[39:51, 49:71].any()
    assert white[92, 187:].all()


def test_values_that_are_not_finite_show_as_certain_defects():
    view = np.full((20, 20, 1), 100, np.uint8)
    broken = np.full((20, 20), np.nan, np.float16)
    certain = np.ones((20, 20), np.float16)
    np.testing.assert_array_equal(heat_picture(view, broken, ()), heat_picture(view, certain, ()))


def test_empty_arrays_leave_no_files(tmp_path):
    images = writer(tmp_path)
    images.write(evidence(NOTHING, NOTHING, np.ones((8, 8), np.float16)))
    assert list(tmp_path.rglob("*.*g")) == []
    assert images.failed == 0


def test_pictures_of_a_later_or_an_earlier_hour_are_found(tmp_path, make_record, colour_view):
    for sequence, wall_ns in ((1, DECIDED_NS + HOUR_NS), (2, DECIDED_NS - HOUR_NS)):
        writer(tmp_path, wall_ns).write(evidence(colour_view, sequence=sequence))
        (path,) = find_pictures(tmp_path, make_record(sequence, has_images=True)).values()
        assert path.parent.name == hour_of(wall_ns)


def test_a_disk_error_is_logged_and_counted_and_ends(tmp_path, caplog, colour_view):
    folder = tmp_path / "images"
    folder.write_text("a file in the folder's place")
    images = writer(folder)
    with caplog.at_level(logging.ERROR):
        images.write(evidence(colour_view))
    assert images.failed == 1
    assert images.problem
    assert f"L3-{SESSION}-000001" in caplog.text
    folder.unlink()
    images.write(evidence(colour_view))
    assert (images.failed, images.problem) == (1, "")


def test_a_full_disk_leaves_no_half_picture(tmp_path, monkeypatch, colour_view):
    images = writer(tmp_path)
    write_bytes = Path.write_bytes

    def half(path: Path, data: bytes) -> int:
        write_bytes(path, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    images.write(evidence(colour_view))
    assert images.problem == "No space left on device"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_a_killed_writer_left_is_cleared(tmp_path, colour_view):
    images = writer(tmp_path)
    images.write(evidence(colour_view))
    (tmp_path / ".unfinished" / "L3-x_frame.png").write_bytes(b"half")
    images.clear_unfinished()
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_an_array_that_is_no_picture_is_counted(tmp_path):
    images = writer(tmp_path)
    images.write(evidence(np.zeros((5, 5, 2), np.uint8)))
    assert images.failed == 1
