from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.images import SkippedPart
from evaluation.datasets import LabelledPart, fit_mask, mvtec_files, mvtec_parts, simulated_parts
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
    return {found.name: found for found in mvtec_parts(mvtec_files(folder), FRAME)}


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


def test_masks_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    for name in ("missing", "empty", "size", "broken"):
        write(tmp_path / f"test/scratch/{name}.png", part())
    truth = tmp_path / "ground_truth/scratch"
    write(truth / "empty_mask.png", mask() * 0)
    write(truth / "size_mask.png", mask((64, 96)))
    (truth / "broken_mask.png").write_bytes(b"")
    faults = {}
    for name, found in labelled(tmp_path).items():
        assert isinstance(found, LabelledPart)
        assert found.mask is None
        faults[Path(name).stem] = found.mask_fault
    assert faults["missing"] == "no mask, looked for missing_mask.png"
    assert faults["empty"] == "mask empty_mask.png is empty"
    assert faults["size"] == "mask size_mask.png is 96 x 64 pixels, the image 192 x 128"
    assert faults["broken"].startswith("mask broken_mask.png: ")


def test_images_that_cannot_be_used_are_skipped_by_name(tmp_path: Path) -> None:
    write(tmp_path / "test/good/fine.png", part())
    (tmp_path / "test/good/broken.png").write_bytes(b"no image")
    found = labelled(tmp_path)
    assert isinstance(found["test/good/fine.png"], LabelledPart)
    assert isinstance(found["test/good/broken.png"], SkippedPart)


def test_another_layout_is_told_what_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path / "0.png", part())
    with pytest.raises(InputError, match=r"no folder test/.*test/good/\*\.png.*ground_truth"):
        mvtec_files(tmp_path)
    write(tmp_path / "test/0.png", part())
    with pytest.raises(InputError, match="test/<kind>/ holds no images"):
        mvtec_files(tmp_path)


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


def test_a_mask_is_cut_and_resized_like_the_image() -> None:
    frame = FRAME.model_copy(update={"region": Region(x=48, y=32, width=96, height=32)})
    fitted = fit_mask(mask() > 0, frame)
    expected = np.zeros((64, 96), bool)
    expected[:, :48] = True
    np.testing.assert_array_equal(fitted, expected)


def test_a_line_thinner_than_a_pixel_of_the_networks_stays() -> None:
    thin = np.zeros((1280, 1920), bool)
    thin[100:102] = True
    fitted = fit_mask(thin, FRAME)
    assert fitted[5].all()
    assert fitted.sum() == 96


def test_an_empty_mask_stays_empty() -> None:
    assert not fit_mask(np.zeros((128, 192), bool), FRAME).any()


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
    again = [p for p in simulated_parts(camera, FRAME, count, 9) if isinstance(p, LabelledPart)]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(parts, again, strict=True))
