from __future__ import annotations

import pytest

from calibration.layouts.detect import labelled_images, normal_images, read_dataset
from pipeline.errors import InputError


def test_a_plain_folder_and_its_subfolders_hold_normal_images(tree) -> None:
    tree.image("monday/2.png", "monday/10.jpg", "tuesday/1.bmp", "0.tif", size_px=(40, 50))
    tree.text("monday/notes.txt", "no image")
    data = normal_images(tree.folder)
    assert data.layout == "plain folder"
    names = [path.relative_to(data.normal_root).as_posix() for path in data.normals]
    assert names == ["0.tif", "monday/10.jpg", "monday/2.png", "tuesday/1.bmp"]
    assert data.tests == ()


@pytest.mark.parametrize("layout", ["mvtec", "visa", "dagm"])
def test_a_root_of_several_objects_names_them(tree, layout: str) -> None:
    for name in ("b", "a", "c"):
        getattr(tree, layout)(name)
    for read in (normal_images, labelled_images):
        with pytest.raises(InputError, match=r"holds 3 objects in the .* layout.*: a, b, c$"):
            read(tree.folder)


def test_objects_one_folder_further_down_are_named_with_it(tree) -> None:
    tree.mvtec("1cls/candle")
    with pytest.raises(InputError, match=r"holds one object in the MVTec layout.*: 1cls/candle$"):
        read_dataset(tree.folder)


def test_a_layout_is_recognised_through_a_relative_path(tree, monkeypatch) -> None:
    tree.visa("candle")
    monkeypatch.chdir(tree.folder / "candle")
    assert read_dataset(tree.folder.relative_to(tree.folder)).layout == "VisA"


def test_a_folder_of_no_layout_is_told_all_of_them_and_what_was_found(tree) -> None:
    tree.image("0.png", "pictures/0.png", "pictures/1.png")
    with pytest.raises(InputError) as caught:
        labelled_images(tree.folder)
    text = str(caught.value)
    assert "no test images; it holds 1 image files and the folders pictures/" in text
    for layout in ("the MVTec layout", "the VisA layout", "the DAGM 2007 layout"):
        assert layout in text
    for name in ("MPDD", "DTD-Synthetic", "ground_truth/<type>/<name>_mask.png", "1cls.csv"):
        assert name in text


def test_a_known_layout_without_test_images_says_which(tree) -> None:
    tree.image("train/good/0.png", "test/0.png")
    with pytest.raises(InputError, match=r"the MVTec layout, with no test images \(test/: one"):
        labelled_images(tree.folder)


def test_test_images_are_not_for_training(tree) -> None:
    tree.image("test/good/0.png", "test/dent/0.png")
    with pytest.raises(InputError, match="layout with no images in train/good that are known"):
        normal_images(tree.folder)
    for part in ("test", "test/dent"):
        with pytest.raises(InputError, match="it holds test images or masks"):
            normal_images(tree.folder / part)
    assert len(normal_images(tree.folder / "test/good").normals) == 1


@pytest.mark.parametrize(
    ("image", "refused"),
    [
        ("a/b/c/bottle/test/broken/0.png", "a/b/c/bottle/test/"),
        ("a/b/c/bottle/Ground_Truth/broken/0.png", "a/b/c/bottle/Ground_Truth/"),
        ("a/b/c/candle/Data/Images/Anomaly/0.png", "a/b/c/candle/Data/Images/"),
        ("a/b/c/Class1/Train/Label/0_label.png", "a/b/c/Class1/Train/"),
    ],
)
def test_a_data_set_far_down_is_not_for_training(tree, image: str, refused: str) -> None:
    tree.image("a/b/c/bottle/train/good/0.png", image)
    with pytest.raises(InputError, match=f": {refused} holds test images or masks"):
        normal_images(tree.folder)


def test_masks_below_good_parts_are_left_out(tree) -> None:
    tree.image("parts/a/b/0.png")
    tree.mask("parts/a/b/ground_truth/broken/0_mask.png")
    data = normal_images(tree.folder / "parts")
    assert [path.name for path in data.normals] == ["0.png"]


@pytest.mark.parametrize("inner", ["ground_truth/dent", "ground_truth/dent/more", "test/dent/more"])
def test_folders_within_those_of_masks_and_defects_are_not_for_training(tree, inner: str) -> None:
    tree.mvtec("bottle")
    tree.image(f"bottle/{inner}/0.png")
    with pytest.raises(InputError, match="it holds test images or masks"):
        normal_images(tree.folder / "bottle" / inner)


@pytest.mark.parametrize("beside", ["test/good", "train/good", "ground_truth/dent"])
def test_a_type_of_defect_is_known_by_what_lies_beside_it(tree, beside: str) -> None:
    tree.image("test/dent/0.png")
    assert len(normal_images(tree.folder / "test/dent").normals) == 1  # any folder named test
    tree.image(f"{beside}/0.png")
    with pytest.raises(InputError, match="it holds test images or masks"):
        normal_images(tree.folder / "test/dent")


def test_a_linked_folder_is_judged_by_where_it_leads(tree) -> None:
    tree.mvtec("bottle")
    tree.image("parts/0.png")
    (tree.folder / "parts/monday").symlink_to(tree.folder / "bottle/test/good")
    assert len(normal_images(tree.folder / "parts").normals) == 3
    (tree.folder / "parts/tuesday").symlink_to(tree.folder / "bottle/test/dent")
    with pytest.raises(InputError, match=r": tuesday/ holds test images or masks"):
        normal_images(tree.folder / "parts")


def test_no_folder_at_all(tree) -> None:
    tree.text("file", "no folder")
    for name, told in (("missing", "there is no such folder"), ("file", "it is a file")):
        with pytest.raises(InputError, match=f"{name} is not a folder: {told}. Give one"):
            read_dataset(tree.folder / name)
