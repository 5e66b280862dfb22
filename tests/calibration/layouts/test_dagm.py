from __future__ import annotations

import shutil

import pytest

from calibration.layouts.detect import labelled_images, normal_images, read_dataset
from pipeline.errors import InputError


def test_training_takes_the_images_without_a_label(tree) -> None:
    tree.dagm("Class1")
    data = normal_images(tree.folder / "Class1")
    assert data.layout == "DAGM 2007"
    assert [path.name for path in data.normals] == ["0574.PNG", "0575.PNG", "0577.PNG"]
    assert data.normal_root == tree.folder / "Class1" / "Train"


def test_the_test_half_and_its_labels(tree) -> None:
    tree.dagm("Class1")
    tests = labelled_images(tree.folder / "Class1").tests
    assert [(test.name, test.kind) for test in tests] == [
        ("Test/0001.PNG", "good"),
        ("Test/0002.PNG", "good"),
        ("Test/0003.PNG", "defect"),
        ("Test/0004.PNG", "good"),
    ]
    (label,) = tests[2].masks
    assert label == tree.folder / "Class1/Test/Label/0003_label.PNG"
    assert label.is_file()


def test_labels_txt_and_label_images_each_make_an_image_defective(tree) -> None:
    tree.dagm("Class1")
    tree.mask("Class1/Train/Label/0574_label.PNG")
    labels = tree.folder / "Class1/Test/Label"
    (labels / "0003_label.PNG").unlink()

    data = labelled_images(tree.folder / "Class1")

    assert [path.name for path in data.normals] == ["0575.PNG", "0577.PNG"]
    assert [test.kind for test in data.tests] == ["good", "good", "defect", "good"]
    assert data.tests[2].masks == (labels / "0003_label.PNG",)


def test_without_labels_txt_the_label_images_decide(tree) -> None:
    tree.dagm("Class1")
    for half in ("Train", "Test"):
        (tree.folder / f"Class1/{half}/Label/Labels.txt").unlink()
    data = labelled_images(tree.folder / "Class1")
    assert len(data.normals) == 3
    assert [test.kind for test in data.tests] == ["good", "good", "defect", "good"]


def test_small_letters_are_the_same_layout(tree) -> None:
    tree.image("class2/train/0001.png", "class2/test/0001.png", "class2/test/0002.png")
    tree.mask("class2/test/label/0002_LABEL.png")
    tree.text("class2/train/label/labels.TXT", "1")
    data = labelled_images(tree.folder / "class2")
    assert data.layout == "DAGM 2007"
    assert [test.kind for test in data.tests] == ["good", "defect"]
    assert len(data.normals) == 1


def test_a_class_without_one_label_folder_and_without_its_images_is_recognised(tree) -> None:
    tree.image("Class1/Train/0001.PNG")
    tree.mask("Class1/Test/Label/0002_label.PNG")
    assert read_dataset(tree.folder / "Class1").layout == "DAGM 2007"


@pytest.mark.parametrize("left", ["no folder", "empty folder"])
def test_images_without_their_labels_are_neither_good_nor_tests(tree, left: str) -> None:
    """Half of an archive: taken as it is, all its defective images would pass for good ones."""
    for name, half in (("Class1", "Train"), ("Class2", "Test")):
        tree.dagm(name)
        labels = tree.folder / name / half / "Label"
        shutil.rmtree(labels)
        if left == "empty folder":
            labels.mkdir()

    with pytest.raises(InputError, match=r"known to be good \(Train/Label/: no such folder, or an"):
        normal_images(tree.folder / "Class1")
    ((name, why),) = labelled_images(tree.folder / "Class1").unusable
    assert name == "Train/Label/"
    assert "show a defect, none of them is used" in why

    with pytest.raises(InputError, match=r"no test images \(Test/Label/: no such folder, or an"):
        labelled_images(tree.folder / "Class2")
    assert len(normal_images(tree.folder / "Class2").normals) == 3


@pytest.mark.parametrize("half", ["Train", "Test", "Train/Label"])
def test_half_a_class_is_not_for_training(tree, half: str) -> None:
    tree.dagm("Class1")
    with pytest.raises(InputError, match="holds test images or masks"):
        normal_images(tree.folder / "Class1" / half)
