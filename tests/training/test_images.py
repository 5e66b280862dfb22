from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import FrameError, InputError
from pipeline.messages import Reason
from training.images import ImageSet, image_set, load_images, split


def write_parts(folder: Path, count: int, level: int = 100) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        assert cv2.imwrite(str(folder / f"{i:03d}.png"), np.full((40, 50), level + i, np.uint8))


def resized(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame, (32, 32)).reshape(32, 32, 1)


def test_a_folder_and_its_subfolders_are_read_in_order(tmp_path: Path) -> None:
    write_parts(tmp_path / "b", 2, 50)
    write_parts(tmp_path / "a", 2, 150)

    images = load_images(tmp_path, resized, minimum=4)

    assert images.images.shape == (4, 32, 32, 1)
    assert images.names == ("a/000.png", "a/001.png", "b/000.png", "b/001.png")
    assert images.images[:, 0, 0, 0].tolist() == [150, 151, 50, 51]
    assert images.skipped == ()


def test_the_mvtec_layout_gives_train_good_only(tmp_path: Path) -> None:
    write_parts(tmp_path / "train" / "good", 3)
    write_parts(tmp_path / "test" / "good", 5)
    write_parts(tmp_path / "test" / "crack", 5)

    assert len(load_images(tmp_path, resized, minimum=3).images) == 3


@pytest.mark.parametrize("folder", [".", "test"])
def test_test_images_are_refused(tmp_path: Path, folder: str) -> None:
    write_parts(tmp_path / "test" / "good", 5)

    with pytest.raises(InputError, match="test images"):
        load_images(tmp_path / folder, resized, minimum=3)


def test_unusable_files_are_listed_with_the_reason(tmp_path: Path) -> None:
    write_parts(tmp_path, 3)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no image")
    cv2.imwrite(str(tmp_path / "pixel.png"), np.zeros((1, 1), np.uint8))

    skipped = dict(load_images(tmp_path, resized, minimum=3).skipped)

    assert set(skipped) == {"broken.jpg", "empty.png", "pixel.png"}
    assert "too small" in skipped["pixel.png"]
    assert "empty" in skipped["empty.png"]


def test_a_frame_that_preparation_refuses_is_skipped(tmp_path: Path) -> None:
    write_parts(tmp_path, 4)

    def prepare(frame: np.ndarray) -> np.ndarray:
        if frame[0, 0] == 101:
            raise FrameError(Reason.FRAME_BLACK, "the frame is black")
        return resized(frame)

    images = load_images(tmp_path, prepare, minimum=3)

    assert images.skipped == (("001.png", "the frame is black"),)


def test_too_few_images_are_an_error_with_counts(tmp_path: Path) -> None:
    write_parts(tmp_path, 5)
    (tmp_path / "broken.png").write_bytes(b"nothing")

    with pytest.raises(InputError, match=r"5 usable images, 1 skipped.*at least 24.*broken\.png"):
        load_images(tmp_path, resized)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        load_images(tmp_path / "nowhere", resized)


def test_the_digest_covers_shape_and_pixels(normals: np.ndarray) -> None:
    names = ["x"] * len(normals)
    shape = repr(normals.shape).encode()

    digest = image_set(normals, names).digest

    assert digest == hashlib.sha256(shape + normals.tobytes()).hexdigest()[:16]
    changed = normals.copy()
    changed[3, 1, 1, 0] ^= 1
    assert image_set(changed, names).digest != digest


def test_split_holds_out_a_share_without_overlap(good_parts: ImageSet) -> None:
    training, validation = split(good_parts, 0.25, seed=1)

    assert len(training.images) == 24
    assert len(validation.images) == 8
    assert {*training.names, *validation.names} == {*good_parts.names}
    assert split(good_parts, 0.25, seed=1)[1].names == validation.names
    assert split(good_parts, 0.25, seed=2)[1].names != validation.names
