from __future__ import annotations

from calibration.layouts.dataset import DataSet
from calibration.layouts.detect import labelled_images, normal_images


def normal_names(data: DataSet) -> list[str]:
    return [path.relative_to(data.normal_root).as_posix() for path in data.normals]


def kinds(data: DataSet) -> dict[str, str]:
    return {test.name: test.kind for test in data.tests}


def existing_masks(data: DataSet) -> dict[str, list[str]]:
    return {
        test.name: [place.name for place in test.masks if place.is_file()]
        for test in data.tests
        if test.masks and test.kind != "good"
    }


def test_mvtec_ad(tree) -> None:
    tree.mvtec("bottle")
    tree.text("bottle/license.txt", "text beside the images")

    data = labelled_images(tree.folder / "bottle")

    assert data.layout == "MVTec"
    assert normal_names(data) == ["000.png", "001.png", "002.png", "003.png"]
    assert kinds(data) == {
        "test/dent/000.png": "dent",
        "test/good/000.png": "good",
        "test/good/001.png": "good",
        "test/scratch/000.png": "scratch",
    }
    assert existing_masks(data) == {
        "test/dent/000.png": ["000_mask.png"],
        "test/scratch/000.png": ["000_mask.png"],
    }
    assert data.unusable == ()


def test_mpdd(tree) -> None:
    """Several types of defects, numbers with gaps."""
    tree.image("tubes/train/good/000.png", "tubes/train/good/007.png", "tubes/test/good/000.png")
    tree.image("tubes/test/anomalous/011.png", "tubes/test/anomalous/068.png")
    tree.mask("tubes/ground_truth/anomalous/011_mask.png")
    tree.mask("tubes/ground_truth/anomalous/068_mask.png")

    data = labelled_images(tree.folder / "tubes")

    assert normal_names(data) == ["000.png", "007.png"]
    assert existing_masks(data) == {
        "test/anomalous/011.png": ["011_mask.png"],
        "test/anomalous/068.png": ["068_mask.png"],
    }


def test_dtd_synthetic(tree) -> None:
    """One type, `bad`; a texture with a number for a name."""
    tree.image("Woven_001/train/good/000.png", "Woven_001/test/good/000.png")
    tree.image("Woven_001/test/bad/000.png")
    tree.mask("Woven_001/ground_truth/bad/000_mask.png")

    data = labelled_images(tree.folder / "Woven_001")

    assert normal_names(data) == ["000.png"]
    assert kinds(data) == {"test/bad/000.png": "bad", "test/good/000.png": "good"}
    assert existing_masks(data) == {"test/bad/000.png": ["000_mask.png"]}


def test_visa_reorganised(tree) -> None:
    """Images are JPG, masks are PNG of the same name."""
    tree.image("candle/train/good/0000.JPG", "candle/test/good/0007.JPG")
    tree.image("candle/test/bad/000.JPG")
    tree.mask("candle/ground_truth/bad/000.png")

    data = labelled_images(tree.folder / "candle")

    assert normal_names(data) == ["0000.JPG"]
    assert existing_masks(data) == {"test/bad/000.JPG": ["000.png"]}


def test_only_train_good_is_for_training(tree) -> None:
    tree.mvtec("bottle")
    tree.image("bottle/train/bad/000.png", "bottle/notes/000.png", "bottle/000.png")
    assert len(normal_images(tree.folder / "bottle").normals) == 4


def test_a_type_without_images_is_named(tree) -> None:
    tree.mvtec("bottle")
    tree.text("bottle/test/contamination/readme.txt", "none yet")
    data = labelled_images(tree.folder / "bottle")
    assert data.unusable == (("test/contamination/", "a type without images"),)
    assert set(kinds(data).values()) == {"good", "dent", "scratch"}
