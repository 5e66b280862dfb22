from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.images import (
    NormalImages,
    PreparedPart,
    SkippedPart,
    collect,
    folder_parts,
    normal_files,
    simulated_parts,
)
from pipeline.config import Frame, SimulatedCamera
from pipeline.errors import InputError
from stages.preprocessing.prepare import prepare
from training.images import load_images

FRAME = Frame(colour="grey", bit_depth=8, size_px="any", input_px=(64, 64))
CAMERA = SimulatedCamera(
    kind="simulated",
    product="brushed_metal",
    size_px=(128, 128),
    seed=3,
    defect_share=0.5,
    rate_hz=None,
)


def write_images(folder: Path, count: int, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        image = rng.integers(20, 200, (70 + index, 90), dtype=np.uint8)
        assert cv2.imwrite(str(folder / f"part_{index}.png"), image)


def from_folder(folder: Path) -> NormalImages:
    root, files = normal_files(folder)
    done: list[int] = []
    images = collect(folder_parts(root, files, FRAME), "here", done.append)
    assert sum(done) == len(files)
    return images


def test_unusable_images_are_listed_and_the_others_taken(tmp_path: Path) -> None:
    write_images(tmp_path, 12)
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert cv2.imwrite(str(tmp_path / "dark.png"), np.zeros((64, 64), np.uint8))
    assert cv2.imwrite(str(tmp_path / "constant.png"), np.full((64, 64), 90, np.uint8))
    images = from_folder(tmp_path)
    assert len(images.parts) == 12
    assert {part.image.shape for part in images.parts} == {(64, 64, 1)}
    assert sorted(part.name for part in images.skipped) == [
        "broken.png",
        "constant.png",
        "dark.png",
    ]
    assert all(part.why for part in images.skipped)


def test_of_the_mvtec_layout_only_train_good_is_used(tmp_path: Path) -> None:
    write_images(tmp_path / "train" / "good", 3)
    write_images(tmp_path / "test" / "scratch", 4, seed=1)
    assert [part.name for part in from_folder(tmp_path).parts] == [
        "part_0.png",
        "part_1.png",
        "part_2.png",
    ]


def test_test_images_are_never_taken(tmp_path: Path) -> None:
    write_images(tmp_path / "test" / "good", 3)
    with pytest.raises(InputError, match="no images in train/good"):
        normal_files(tmp_path)


def test_of_other_layouts_only_the_training_images_are_used(tmp_path: Path) -> None:
    write_images(tmp_path / "Class1" / "Train", 3)
    write_images(tmp_path / "Class1" / "Test", 5, seed=1)
    write_images(tmp_path / "Class1" / "Train" / "Label", 1, seed=2)
    label = tmp_path / "Class1/Train/Label/part_0.png"
    label.rename(label.with_name("part_1_label.png"))
    assert [part.name for part in from_folder(tmp_path / "Class1").parts] == [
        "part_0.png",
        "part_2.png",
    ]
    with pytest.raises(InputError, match="Give one of them"):
        normal_files(tmp_path)


def test_an_empty_or_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 image files"):
        normal_files(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        normal_files(tmp_path / "missing")


def test_the_digest_is_that_of_a_training_on_the_same_images(tmp_path: Path) -> None:
    write_images(tmp_path, 25)
    assert cv2.imwrite(str(tmp_path / "constant.png"), np.full((64, 64), 90, np.uint8))
    assert cv2.imwrite(str(tmp_path / "tiny.png"), np.eye(8, dtype=np.uint8) * 99)
    trained = load_images(tmp_path, lambda image: prepare(image, FRAME, 64).image)
    assert from_folder(tmp_path).digest == trained.digest


def test_the_digest_covers_pixels_number_and_order() -> None:
    rng = np.random.default_rng(0)
    parts = [PreparedPart(str(i), rng.integers(0, 9, (8, 8, 1), np.uint8)) for i in range(3)]
    sets = [parts, parts[:2], parts[::-1], [parts[0], parts[1], parts[1]]]
    digests = {NormalImages(tuple(chosen), (), "").digest for chosen in sets}
    assert len(digests) == 4


def test_simulated_parts_are_good_seeded_and_prepared() -> None:
    first, again, other = (
        collect(simulated_parts(CAMERA, FRAME, 4, seed), "", lambda _: None) for seed in (8, 8, 9)
    )
    assert first.digest == again.digest != other.digest
    assert {part.image.shape for part in first.parts} == {(64, 64, 1)}
    assert len(first.parts) == 4


def test_a_name_that_is_not_utf_8_can_be_written(tmp_path: Path) -> None:
    file = tmp_path / "ri\udcdf.png"
    file.write_bytes(b"no image")
    (part,) = folder_parts(tmp_path, [file], FRAME)
    assert isinstance(part, SkippedPart)
    assert part.name == r"ri\xdf.png"
    assert part.why.encode()
