from __future__ import annotations

import pytest

from calibration.layouts.detect import labelled_images, normal_images
from pipeline.errors import InputError

HEADER = "object,split,label,image,mask"


def write_split(tree, name: str, columns: str = HEADER) -> None:
    """Normal parts 0 to 8 for training, 9 to 11 and the first two defective ones for tests."""
    rows = [
        f"{name},{'train' if number < 9 else 'test'},normal,"
        f"{name}/Data/Images/Normal/{number:04d}.JPG,"
        for number in range(12)
    ]
    rows += [
        f"{name},test,anomaly,{name}/Data/Images/Anomaly/00{number}.JPG,"
        f"{name}/Data/Masks/Anomaly/00{number}.png"
        for number in range(2)
    ]
    tree.text("split_csv/1cls.csv", "\n".join([columns, *rows]))


def test_the_split_file_decides(tree) -> None:
    tree.visa("candle")
    write_split(tree, "candle")

    data = labelled_images(tree.folder / "candle")

    assert data.layout == "VisA"
    assert [path.name for path in data.normals] == [f"{number:04d}.JPG" for number in range(9)]
    assert [(test.name, test.kind) for test in data.tests] == [
        ("Data/Images/Anomaly/000.JPG", "bent"),
        ("Data/Images/Anomaly/001.JPG", "combined"),
        ("Data/Images/Normal/0009.JPG", "good"),
        ("Data/Images/Normal/0010.JPG", "good"),
        ("Data/Images/Normal/0011.JPG", "good"),
    ]
    assert all(test.masks[0].is_file() for test in data.tests if test.kind != "good")
    assert data.unusable == ()


def test_without_a_split_file_one_normal_image_in_ten_is_for_tests_and_that_is_said(tree) -> None:
    tree.visa("candle")

    data = labelled_images(tree.folder / "candle")

    tested = [test.path.name for test in data.tests if test.kind == "good"]
    assert tested == ["0000.JPG", "0010.JPG"]
    assert len(data.normals) == 10
    assert not {path.name for path in data.normals} & set(tested)
    assert [test.kind for test in data.tests if test.kind != "good"] == [
        "anomaly",
        "bent",
        "combined",
    ]
    ((name, why),) = data.unusable
    assert name == "../split_csv/1cls.csv"
    assert "not the published split" in why


def test_without_types_a_defect_is_an_anomaly(tree) -> None:
    tree.visa("candle")
    (tree.folder / "candle/image_anno.csv").unlink()
    kinds = {test.kind for test in labelled_images(tree.folder / "candle").tests}
    assert kinds == {"good", "anomaly"}


@pytest.mark.parametrize("label", ["good", "Good", "Normal", "normal,good"])
def test_a_defective_image_is_no_good_part_whatever_its_type_is_called(tree, label: str) -> None:
    tree.visa("candle")
    tree.text(
        "candle/image_anno.csv",
        f'image,label,mask\ncandle/Data/Images/Anomaly/000.JPG,"{label}",\n'
        f'candle/Data/Images/Anomaly/001.JPG,"{label},bent",',
    )
    tests = labelled_images(tree.folder / "candle").tests
    kinds = {test.path.name: test.kind for test in tests if test.path.parent.name == "Anomaly"}
    assert kinds == {"000.JPG": "anomaly", "001.JPG": "bent", "002.JPG": "anomaly"}
    assert all(test.masks[0].is_file() for test in tests if test.path.name in kinds)


def test_a_file_of_the_split_that_is_missing_stays_listed(tree) -> None:
    tree.visa("candle")
    write_split(tree, "candle")
    (tree.folder / "candle/Data/Images/Anomaly/001.JPG").unlink()
    data = labelled_images(tree.folder / "candle")
    assert "Data/Images/Anomaly/001.JPG" in [test.name for test in data.tests]


def test_capitals_and_blanks_in_the_split_do_not_matter(tree) -> None:
    tree.visa("candle")
    rows = [
        f"candle,{split},{label},candle/Data/Images/Normal/{number:04d}.JPG,"
        for number, (split, label) in enumerate(
            [("Train", "Normal"), (" train ", "normal "), ("Test", "normal"), ("TEST ", "Anomaly")]
        )
    ]
    tree.text("split_csv/1cls.csv", "\n".join([HEADER, *rows]))
    data = labelled_images(tree.folder / "candle")
    assert [path.name for path in data.normals] == ["0000.JPG", "0001.JPG"]
    tests = [(test.path.name, test.kind) for test in data.tests]
    assert tests == [("0003.JPG", "anomaly"), ("0002.JPG", "good")]


@pytest.mark.parametrize(
    ("split", "label", "told"),
    [
        ("val", "normal", "split is 'val'; expected train or test"),
        ("", "normal", "split is ''; expected train or test"),
        ("test", "good", "label is 'good'; expected normal or anomaly"),
    ],
)
def test_a_split_or_label_that_is_not_known(tree, split: str, label: str, told: str) -> None:
    tree.visa("candle")
    image = "candle/Data/Images/Normal/0003.JPG"
    tree.text("split_csv/1cls.csv", f"{HEADER}\ncandle,{split},{label},{image},")
    with pytest.raises(InputError, match=rf"1cls\.csv: in the row of {image}, {told}"):
        normal_images(tree.folder / "candle")


def test_a_split_file_for_other_objects(tree) -> None:
    tree.visa("candle")
    write_split(tree, "cashew")
    with pytest.raises(InputError, match="no rows for the object candle, only for: cashew"):
        labelled_images(tree.folder / "candle")


def test_a_split_file_with_other_columns_or_paths(tree) -> None:
    tree.visa("candle")
    write_split(tree, "candle", columns="object,set,label,image,mask")
    with pytest.raises(InputError, match=r"expected .* columns object, split, .*found object, set"):
        normal_images(tree.folder / "candle")
    tree.text("split_csv/1cls.csv", f"{HEADER}\ncandle,train,normal,pcb1/0.JPG,")
    with pytest.raises(InputError, match=r"pcb1/0\.JPG does not lie below candle/"):
        normal_images(tree.folder / "candle")
    tree.text("split_csv/1cls.csv", "")
    with pytest.raises(InputError, match="found an empty file"):
        normal_images(tree.folder / "candle")


@pytest.mark.parametrize("part", ["Data", "Data/Images", "Data/Images/Anomaly", "Data/Masks"])
def test_parts_of_an_object_that_show_defects_are_not_for_training(tree, part: str) -> None:
    tree.visa("candle")
    with pytest.raises(InputError, match="holds test images or masks"):
        normal_images(tree.folder / "candle" / part)


def test_the_folder_of_normal_images_is_a_plain_folder(tree) -> None:
    tree.visa("candle")
    data = normal_images(tree.folder / "candle/Data/Images/Normal")
    assert data.layout == "plain folder"
    assert len(data.normals) == 12
