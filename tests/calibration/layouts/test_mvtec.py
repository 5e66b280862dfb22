from __future__ import annotations

import pytest

from calibration.layouts.dataset import DataSet
from calibration.layouts.detect import labelled_images, normal_images
from pipeline.errors import InputError


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


@pytest.mark.parametrize("name", ["label", "Label"])
def test_a_type_of_defect_may_be_called_label(tree, name: str) -> None:
    """As DAGM's folders of labels are, which lie beside images and not beside good/."""
    tree.image("bottle/train/good/000.png", f"bottle/test/{name}/000.png", "bottle/test/stray.png")
    tree.mask(f"bottle/ground_truth/{name}/000_mask.png")

    data = labelled_images(tree.folder / "bottle")

    assert data.layout == "MVTec"
    assert kinds(data) == {f"test/{name}/000.png": name}
    assert normal_names(normal_images(tree.folder / "bottle")) == ["000.png"]


def test_a_type_called_label_without_good_parts_beside_it(tree) -> None:
    tree.image("bottle/test/label/000.png")
    assert kinds(labelled_images(tree.folder / "bottle")) == {"test/label/000.png": "label"}


@pytest.mark.parametrize(("count", "counted"), [(1, "one image"), (2, "2 images")])
def test_images_of_no_type_are_counted(tree, count: int, counted: str) -> None:
    tree.mvtec("bottle")
    tree.image(*(f"bottle/test/{number}.png" for number in range(count)))
    data = labelled_images(tree.folder / "bottle")
    assert data.unusable == (("test/", f"{counted} directly in test/, of no kind"),)
    assert len(data.tests) == 4


@pytest.mark.parametrize("linked", ["test", "test/dent", "ground_truth/dent"])
def test_a_link_in_train_good_must_not_lead_to_defects(tree, linked: str) -> None:
    tree.mvtec("bottle")
    tree.image("elsewhere/000.png")
    good = tree.folder / "bottle/train/good"
    (good / "monday").symlink_to(tree.folder / "elsewhere")
    assert len(normal_images(tree.folder / "bottle").normals) == 5
    (good / "tuesday").symlink_to(tree.folder / "bottle" / linked)
    with pytest.raises(InputError, match=r"train/good: tuesday/ holds test images or masks"):
        normal_images(tree.folder / "bottle")
