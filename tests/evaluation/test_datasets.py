from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.images import SkippedPart
from evaluation.datasets import (
    LabelledFile,
    LabelledPart,
    at_most,
    labelled_files,
    labelled_parts,
    simulated_parts,
)
from pipeline.config import Frame, Region, SimulatedCamera
from pipeline.errors import InputError
from stages.acquisition.simulation import DEFECT_KINDS

FRAME = Frame(colour="grey", bit_depth=8, size_px="any", input_px=(64, 96))


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def part(size_px: tuple[int, int] = (128, 192)) -> np.ndarray:
    return np.random.default_rng(0).integers(20, 200, size_px, dtype=np.uint8)


def mask(size_px: tuple[int, int] = (128, 192)) -> np.ndarray:
    drawn = np.zeros(size_px, np.uint8)
    drawn[32:64, 48:96] = 255
    return drawn


def labelled(folder: Path) -> dict[str, LabelledPart | SkippedPart]:
    return {found.name: found for found in labelled_parts(labelled_files(folder), FRAME)}


def test_the_mvtec_layout(tmp_path: Path) -> None:
    write(tmp_path / "train/good/0.png", part())
    write(tmp_path / "test/good/0.png", part())
    write(tmp_path / "test/scratch/0.jpg", part())
    write(tmp_path / "test/dent/7.png", part())
    write(tmp_path / "ground_truth/scratch/0_mask.png", mask())
    write(tmp_path / "ground_truth/dent/7.png", mask())
    found = labelled(tmp_path)
    assert list(found) == ["test/dent/7.png", "test/good/0.png", "test/scratch/0.jpg"]
    good = found["test/good/0.png"]
    assert isinstance(good, LabelledPart)
    assert good.kind == "good"
    assert good.mask is not None
    assert not good.mask.any()
    for name, kind in (("test/dent/7.png", "dent"), ("test/scratch/0.jpg", "scratch")):
        defective = found[name]
        assert isinstance(defective, LabelledPart)
        assert (defective.kind, defective.mask_fault) == (kind, "")
        assert defective.image.shape == (64, 96, 1)
        expected = np.zeros((64, 96), bool)
        expected[16:32, 24:48] = True
        np.testing.assert_array_equal(defective.mask, expected)


def test_at_most_some_of_each_kind_are_spread_over_it(tmp_path: Path) -> None:
    write(tmp_path / "train/good/0.png", part())
    for number in range(10):
        write(tmp_path / f"test/good/{number}.png", part())
    for number in range(2):
        write(tmp_path / f"test/dent/{number}.png", part())
        write(tmp_path / f"ground_truth/dent/{number}.png", mask())
    kept = at_most(labelled_files(tmp_path), 5)
    names = [file.name for file in kept if isinstance(file, LabelledFile)]
    good = [f"test/good/{number}.png" for number in (0, 2, 4, 6, 8)]
    assert sorted(names) == ["test/dent/0.png", "test/dent/1.png", *good]


def test_masks_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    for name in ("missing", "empty", "size", "broken", "faint"):
        write(tmp_path / f"test/scratch/{name}.png", part())
    truth = tmp_path / "ground_truth/scratch"
    write(truth / "empty_mask.png", mask() * 0)
    write(truth / "size_mask.png", mask((64, 96)))
    (truth / "broken_mask.png").write_bytes(b"")
    write(truth / "faint_mask.png", mask() // 255)
    faults = {}
    for name, found in labelled(tmp_path).items():
        assert isinstance(found, LabelledPart)
        assert found.image.shape == (64, 96, 1), "the image itself counts"
        assert (found.mask is None) == bool(found.mask_fault)
        faults[Path(name).stem] = found.mask_fault
    assert faults["missing"] == "no mask, looked for missing_mask.png"
    assert faults["empty"] == "mask empty_mask.png is empty"
    assert faults["size"] == "mask size_mask.png is 96 x 64 pixels, the image 192 x 128"
    assert faults["broken"].startswith("mask broken_mask.png cannot be used: ")
    assert faults["faint"] == "", "any level but 0 marks a defect"


def test_a_mask_outside_the_region_of_interest_is_not_called_empty(tmp_path: Path) -> None:
    write(tmp_path / "test/scratch/0.png", part())
    write(tmp_path / "ground_truth/scratch/0_mask.png", mask())
    region = Region(x=0, y=64, width=192, height=64)
    frame = FRAME.model_copy(update={"region": region})
    (found,) = labelled_parts(labelled_files(tmp_path), frame)
    assert isinstance(found, LabelledPart)
    assert found.mask is None
    assert "marks nothing inside the line's region of interest" in found.mask_fault


def test_images_that_cannot_be_used_are_skipped_by_name(tmp_path: Path) -> None:
    write(tmp_path / "test/good/fine.png", part())
    (tmp_path / "test/good/broken.png").write_bytes(b"no image")
    found = labelled(tmp_path)
    assert isinstance(found["test/good/fine.png"], LabelledPart)
    assert isinstance(found["test/good/broken.png"], SkippedPart)


def test_what_a_data_set_lacks_is_named(tmp_path: Path) -> None:
    write(tmp_path / "test/good/0.png", part())
    (tmp_path / "test/dent").mkdir()
    found = labelled(tmp_path)
    assert found["test/dent/"] == SkippedPart("test/dent/", "a type without images")
    assert isinstance(found["test/good/0.png"], LabelledPart)


def test_another_layout_is_told_what_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path / "0.png", part())
    with pytest.raises(
        InputError, match=r"(?s)no data set.*1 image files.*test/good/\*\.png.*Label/"
    ):
        labelled_files(tmp_path)
    write(tmp_path / "test/0.png", part())
    with pytest.raises(InputError, match=r"(?s)no test images.*folders test/.*ground_truth"):
        labelled_files(tmp_path)


def test_the_visa_layout(tmp_path: Path) -> None:
    """Masks number the types of defects from 1 on; one of them has no mask."""
    data = tmp_path / "candle/Data"
    for name in ("Normal/0000", "Anomaly/000", "Anomaly/001"):
        write(data / f"Images/{name}.JPG", part())
    write(data / "Masks/Anomaly/000.png", mask() // 255 * 3)
    found = labelled(tmp_path / "candle")
    masked, unmasked = (found[f"Data/Images/Anomaly/00{number}.JPG"] for number in range(2))
    assert isinstance(masked, LabelledPart)
    assert masked.mask is not None
    assert masked.mask.sum() == 16 * 24
    assert isinstance(unmasked, LabelledPart)
    assert unmasked.mask_fault == "no mask, looked for 001.png"
    assert isinstance(found["../split_csv/1cls.csv"], SkippedPart)


def test_the_dagm_layout(tmp_path: Path) -> None:
    write(tmp_path / "Train/0001.PNG", part())
    for name in ("0001", "0002", "0003"):
        write(tmp_path / f"Test/{name}.PNG", part())
    write(tmp_path / "Test/Label/0002_label.PNG", mask())
    (tmp_path / "Test/Label/Labels.txt").write_text(
        "1\n1\t0\t0001.PNG\t0\t0\n2\t1\t0002.PNG\t0\t0002_label.PNG\n"
        "3\t1\t0003.PNG\t0\t0003_label.PNG\n"
    )
    found = list(labelled(tmp_path).values())
    parts = [part for part in found if isinstance(part, LabelledPart)]
    assert [part.kind for part in parts] == ["good", "defect", "defect"]
    assert [part.mask is not None and int(part.mask.sum()) for part in parts] == [0, 384, False]
    assert parts[2].mask_fault == "no mask, looked for 0003_label.PNG"


TILES = Path(__file__).resolve().parents[3] / "shared" / "data" / "magnetic_tile"


@pytest.mark.skipif(not TILES.is_dir(), reason=f"the optional magnetic tiles are not in {TILES}")
def test_the_magnetic_tiles_have_four_empty_masks() -> None:
    files = labelled_files(TILES)
    assert len(files) == 582
    uneven = [file for file in files if not isinstance(file, SkippedPart) and file.kind == "uneven"]
    faults = {
        found.name: found.mask_fault
        for found in labelled_parts(uneven, FRAME)
        if isinstance(found, LabelledPart) and found.mask is None
    }
    names = ("exp3_num_45042", "exp4_num_45057", "exp4_num_124690", "exp4_num_352527")
    assert faults == {f"test/uneven/{name}.jpg": f"mask {name}_mask.png is empty" for name in names}


def test_a_colour_mask_with_alpha_marks_where_it_has_colour(tmp_path: Path) -> None:
    write(tmp_path / "test/scratch/0.png", part())
    colour = np.zeros((128, 192, 4), np.uint8)
    colour[..., 3] = 255
    colour[32:64, 48:96, 2] = 255
    write(tmp_path / "ground_truth/scratch/0_mask.png", colour)
    found = labelled(tmp_path)["test/scratch/0.png"]
    assert isinstance(found, LabelledPart)
    assert found.mask is not None
    assert found.mask.sum() == 16 * 24


def test_simulated_parts_are_half_defective_with_all_kinds_in_turn() -> None:
    camera = SimulatedCamera(
        kind="simulated",
        product="brushed_metal",
        size_px=(128, 128),
        seed=3,
        defect_share=0.1,
        rate_hz=None,
    )
    count = 4 * len(DEFECT_KINDS)
    parts = [p for p in simulated_parts(camera, FRAME, count, 9) if isinstance(p, LabelledPart)]
    kinds = [p.kind for p in parts]
    assert kinds.count("good") == count // 2
    assert all(kinds.count(kind) == 2 for kind in DEFECT_KINDS)
    for found in parts:
        assert found.mask is not None
        assert found.mask.shape == (64, 96)
        assert found.mask.any() == (found.kind != "good")
    outside = FRAME.model_copy(update={"region": Region(x=0, y=0, width=16, height=16)})
    hidden = [p for p in simulated_parts(camera, outside, count, 9) if isinstance(p, LabelledPart)]
    unseen = [found for found in hidden if found.mask is None]
    assert unseen
    assert all(found.kind != "good" and "nothing inside" in found.mask_fault for found in unseen)
    seen = [found.mask for found in hidden if found.mask is not None and found.kind != "good"]
    assert all(mask.any() for mask in seen)
    again = [p for p in simulated_parts(camera, FRAME, count, 9) if isinstance(p, LabelledPart)]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(parts, again, strict=True))
