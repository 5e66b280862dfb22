"""Image files: what is found, and that nothing broken passes for an image."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import FrameError, InputError
from pipeline.messages import Reason
from stages.image_files import image_files, read_image

ENCODINGS = {
    "jpg": (".jpg", np.uint8, []),
    "progressive jpg": (".jpg", np.uint8, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    "png": (".png", np.uint8, []),
    "16 bit png": (".png", np.uint16, []),
    "bmp": (".bmp", np.uint8, []),
    "lzw tiff": (".tiff", np.uint8, [cv2.IMWRITE_TIFF_COMPRESSION, 5]),
    "raw 16 bit tiff": (".tif", np.uint16, [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
}


def picture(dtype: type = np.uint8) -> np.ndarray:
    noise = np.random.default_rng(1).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2).astype(dtype) * (1 if dtype == np.uint8 else 200)


def encoded(name: str) -> tuple[str, bytes]:
    suffix, dtype, options = ENCODINGS[name]
    return suffix, cv2.imencode(suffix, picture(dtype), options)[1].tobytes()


def reason(path: Path, max_megapixels: float = 30) -> Reason:
    with pytest.raises(FrameError) as caught:
        read_image(path, max_megapixels)
    return caught.value.reason


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_whole_file_is_read_as_it_is_stored(name: str, tmp_path: Path) -> None:
    suffix, data = encoded(name)
    path = tmp_path / f"part{suffix}"
    path.write_bytes(data)
    image = read_image(path, 30)
    stored = picture(ENCODINGS[name][1])
    assert image.dtype == stored.dtype
    assert image.shape == stored.shape
    assert np.abs(image.astype(int) - stored).max() <= (40 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("kept", [0.999, 0.9, 0.5, 0.1, 0.01])
def test_a_truncated_file_is_noticed(name: str, kept: float, tmp_path: Path) -> None:
    suffix, data = encoded(name)
    path = tmp_path / f"part{suffix}"
    path.write_bytes(data[: int(len(data) * kept)])
    assert reason(path) == Reason.FRAME_UNREADABLE


@pytest.mark.parametrize("name", ["jpg", "progressive jpg", "png", "16 bit png"])
def test_a_file_whose_second_half_was_never_written_is_noticed(name: str, tmp_path: Path) -> None:
    suffix, data = encoded(name)
    path = tmp_path / f"part{suffix}"
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    assert reason(path) == Reason.FRAME_UNREADABLE


@pytest.mark.parametrize("content", [b"", b"\0", b"this is not an image", b"\xff\xd8\xff\xe0"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_what_is_no_image_is_unreadable(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"part{suffix}"
    path.write_bytes(content)
    assert reason(path) == Reason.FRAME_UNREADABLE


def test_random_damage_gives_an_image_or_a_frame_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    refused = 0
    for name in ENCODINGS:
        suffix, data = encoded(name)
        path = tmp_path / f"part{suffix}"
        for place in rng.integers(0, 300, 40):
            damaged = bytearray(data)
            damaged[place : place + 4] = rng.bytes(4)
            path.write_bytes(damaged)
            try:
                assert read_image(path, 30).size > 0
            except FrameError:
                refused += 1
    assert refused > 20


def test_a_missing_file_and_a_folder_are_unreadable(tmp_path: Path) -> None:
    assert reason(tmp_path / "away.png") == Reason.FRAME_UNREADABLE
    assert reason(tmp_path) == Reason.FRAME_UNREADABLE


def test_a_hundred_megapixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(constant_png(10_000, 10_000))
    assert reason(path) == Reason.FRAME_SIZE


def test_the_limit_is_on_pixels_not_on_bytes(tmp_path: Path) -> None:
    path = tmp_path / "part.png"
    cv2.imwrite(str(path), np.zeros((100, 200), np.uint8))
    assert read_image(path, 0.02).shape == (100, 200)
    assert reason(path, 0.0199) == Reason.FRAME_SIZE


def test_float_samples_are_of_the_wrong_depth(tmp_path: Path) -> None:
    path = tmp_path / "part.tiff"
    Image.fromarray(np.full((40, 50), 0.5, np.float32)).save(path)
    assert reason(path) == Reason.FRAME_DEPTH


def test_alpha_and_grey_stay(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "alpha.png"), np.full((40, 50, 4), 9, np.uint8))
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((40, 50), 900, np.uint16))
    assert read_image(tmp_path / "alpha.png", 1).shape == (40, 50, 4)
    grey = read_image(tmp_path / "grey.png", 1)
    assert (grey.shape, grey.dtype, grey[0, 0]) == ((40, 50), np.uint16, 900)


def test_files_come_in_natural_order_without_masks_and_hidden_files(tmp_path: Path) -> None:
    names = ["part_10.png", "part_2.PNG", "b/1.jpeg", "a/3.tif", "a/20.bmp", "a/100.tiff"]
    ignored = ["ground_truth/1.png", "._part_2.png", ".trash/1.png", "notes.txt", "part.npy"]
    for name in [*names, *ignored]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)]
    assert found == ["a/3.tif", "a/20.bmp", "a/100.tiff", "b/1.jpeg", "part_2.PNG", "part_10.png"]


def test_a_folder_within_a_folder_of_masks_can_be_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "ground_truth" / "crack"
    folder.mkdir(parents=True)
    (folder / "1.png").touch()
    assert image_files(folder) == [folder / "1.png"]


def test_links_to_folders_are_followed_and_each_folder_is_read_once(tmp_path: Path) -> None:
    for name in ("elsewhere/1.png", "elsewhere/deep/2.png", "good/3.png", "good/b/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    good = tmp_path / "good"
    links = {
        good / "monday": tmp_path / "elsewhere",
        good / "a": good / "b",
        good / "b" / "loop": good,
        good / "b" / "up": tmp_path,
        good / "gone": tmp_path / "missing",
        tmp_path / "elsewhere" / "back": good,
    }
    for link, target in links.items():
        link.symlink_to(target)
    found = [path.relative_to(good).as_posix() for path in image_files(good)]
    assert found == ["3.png", "b/4.png", "monday/1.png", "monday/deep/2.png"]
    (tmp_path / "link").symlink_to(good)
    assert len(image_files(tmp_path / "link")) == 4


def test_no_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        image_files(tmp_path / "away")


def constant_png(width: int, height: int) -> bytes:
    """A complete and correct black PNG; a hundred megapixels take about 100 kB."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(1)
    row = bytes(width + 1)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
