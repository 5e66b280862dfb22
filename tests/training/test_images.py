from __future__ import annotations

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.images import folder_parts
from calibration.layouts.detect import normal_images
from pipeline.config_file import line_file, load_line
from pipeline.errors import FrameError, InputError
from pipeline.messages import Reason
from training.images import ImageSet, image_set, load_images, split


def write_parts(folder: Path, count: int, level: int = 100) -> None:
    """Parts with a dark stripe: their upper left corner tells them apart."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image = np.full((40, 50), level + i, np.uint8)
        image[30:] = 20
        assert cv2.imwrite(str(folder / f"{i:03d}.png"), image)


def write_constant(path: Path, size_px: tuple[int, ...] = (40, 50)) -> None:
    assert cv2.imwrite(str(path), np.full(size_px, 90, np.uint8))


def resized(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame, (32, 32)).reshape(32, 32, 1)


def resized_first_channel(frame: np.ndarray) -> np.ndarray:
    return resized(frame if frame.ndim == 2 else np.ascontiguousarray(frame[..., 0]))


def test_a_folder_and_its_subfolders_are_read_in_order(tmp_path: Path) -> None:
    write_parts(tmp_path / "b", 2, 50)
    write_parts(tmp_path / "a", 2, 150)

    images = load_images(tmp_path, resized, minimum=4)

    assert images.images.shape == (4, 32, 32, 1)
    assert images.names == ("a/000.png", "a/001.png", "b/000.png", "b/001.png")
    assert images.images[:, 0, 0, 0].tolist() == [150, 151, 50, 51]
    assert images.skipped == ()


def test_names_that_are_not_utf_8_are_those_that_calibration_gives_them(tmp_path: Path) -> None:
    write_parts(tmp_path, 5)
    for name in ("000", "001"):
        os.rename(
            tmp_path / f"{name}.png", os.fsencode(tmp_path) + f"/\xe4{name}.png".encode("latin-1")
        )
    (tmp_path / os.fsdecode(b"\xdf.png")).write_bytes(b"")

    images = load_images(tmp_path, resized, minimum=5)

    frame = load_line(line_file(3), []).frame
    files = normal_images(tmp_path).normals
    calibrated = [part.name for part in folder_parts(tmp_path, files, frame)]
    assert r"\xe4000.png" in images.names
    assert sorted([*images.names, *(name for name, _ in images.skipped)]) == sorted(calibrated)


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


def test_the_dagm_layout_gives_the_training_images_without_a_label(tmp_path: Path) -> None:
    write_parts(tmp_path / "Class1" / "Train", 5)
    write_parts(tmp_path / "Class1" / "Test", 5)
    (tmp_path / "Class1/Train/Label").mkdir()
    (tmp_path / "Class1/Train/Label/Labels.txt").write_text("1\n2\t1\t001.png\t0\t001_label.png\n")

    images = load_images(tmp_path / "Class1", resized, minimum=3)

    assert images.names == ("000.png", "002.png", "003.png", "004.png")


def test_the_visa_layout_gives_the_training_images_of_the_split(tmp_path: Path) -> None:
    write_parts(tmp_path / "candle/Data/Images/Normal", 6)
    write_parts(tmp_path / "candle/Data/Images/Anomaly", 2)
    rows = [f"candle,train,normal,candle/Data/Images/Normal/00{i}.png," for i in range(1, 5)]
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv/1cls.csv").write_text(
        "\n".join(["object,split,label,image,mask", *rows])
    )

    images = load_images(tmp_path / "candle", resized, minimum=3)

    assert images.names == tuple(f"Data/Images/Normal/00{i}.png" for i in range(1, 5))


def test_a_root_of_several_objects_is_refused(tmp_path: Path) -> None:
    for name in ("bottle", "cable"):
        write_parts(tmp_path / name / "train" / "good", 3)

    with pytest.raises(InputError, match=r"Give one of them.*: bottle, cable$"):
        load_images(tmp_path, resized, minimum=3)


def test_unusable_files_are_listed_with_the_reason(tmp_path: Path) -> None:
    write_parts(tmp_path, 3)
    whole = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))[1]
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    (tmp_path / "half.jpg").write_bytes(whole.tobytes()[: len(whole) // 2])
    (tmp_path / "half.png").write_bytes((tmp_path / "000.png").read_bytes()[:-20])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no image")
    cv2.imwrite(str(tmp_path / "pixel.png"), np.zeros((1, 1), np.uint8))
    write_constant(tmp_path / "constant.png")
    write_constant(tmp_path / "constant_colour.png", (40, 50, 3))

    skipped = dict(load_images(tmp_path, resized_first_channel, minimum=3).skipped)

    constant = {name for name, why in skipped.items() if "all pixels are equal" in why}
    assert constant == {"constant.png", "constant_colour.png"}
    assert set(skipped) - constant == {
        "broken.jpg",
        "half.jpg",
        "half.png",
        "empty.png",
        "pixel.png",
    }
    assert "too small" in skipped["pixel.png"]
    assert "truncated" in skipped["half.jpg"]
    assert "truncated" in skipped["half.png"]
    assert "empty" in skipped["empty.png"]


def test_constant_colour_is_no_part_whatever_the_colour(tmp_path: Path) -> None:
    write_parts(tmp_path, 3)
    green = np.zeros((40, 50, 3), np.uint8)
    green[..., 1] = 180
    assert cv2.imwrite(str(tmp_path / "green.png"), green)

    def prepare(frame: np.ndarray) -> np.ndarray:
        colour = frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
        return cv2.resize(colour, (32, 32))

    images = load_images(tmp_path, prepare, minimum=3)

    assert [name for name, _ in images.skipped] == ["green.png"]


def test_copies_of_one_image_are_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, 1)
    for i in range(1, 4):
        (tmp_path / f"{i:03d}.png").write_bytes((tmp_path / "000.png").read_bytes())

    with pytest.raises(InputError, match="all 4 usable images are identical"):
        load_images(tmp_path, resized, minimum=3)

    write_parts(tmp_path / "another", 1, level=150)
    assert len(load_images(tmp_path, resized, minimum=3).images) == 5


def test_nothing_but_constant_images_is_too_few(tmp_path: Path) -> None:
    for i in range(30):
        write_constant(tmp_path / f"{i}.png")

    with pytest.raises(InputError, match=r"(?s)0 usable images, 30 skipped.*all pixels are equal"):
        load_images(tmp_path, resized)


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

    with pytest.raises(
        InputError, match=r"(?s)5 usable images, 1 skipped.*at least 24.*broken\.png"
    ):
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


def test_split_holds_near_copies_out_together(good_parts: ImageSet) -> None:
    brighter = np.clip(good_parts.images * 1.2, 0, 255).astype(np.uint8)
    names = [*good_parts.names, *(f"{name}, brighter" for name in good_parts.names)]
    pairs = image_set(np.concatenate([good_parts.images, brighter]), names)

    training, validation = split(pairs, 0.25, seed=1)

    parts = [
        {name.removesuffix(", brighter") for name in half.names} for half in (training, validation)
    ]
    assert len(validation.images) == 16
    assert len(parts[1]) == 8
    assert not parts[0] & parts[1]


def test_split_of_copies_of_one_part_holds_single_images_out(good_parts: ImageSet) -> None:
    rng = np.random.default_rng(0)
    noisy = np.repeat(good_parts.images[:2], [30, 2], axis=0) + rng.integers(0, 3, (32, 64, 64, 1))
    images = image_set(noisy.astype(np.uint8), [str(i) for i in range(32)])

    training, validation = split(images, 0.25, seed=1)

    assert len(training.images) >= 24
    assert len(validation.images) >= 4
