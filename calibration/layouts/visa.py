"""The layout of VisA as it is downloaded: one object of it.

ROOT/candle/Data/Images/Normal/0000.JPG    normal parts
ROOT/candle/Data/Images/Anomaly/000.JPG    defective parts
ROOT/candle/Data/Masks/Anomaly/000.png     where the defect is: numbers from 1 on
ROOT/candle/image_anno.csv                 image,label,mask: the types of the defects
ROOT/split_csv/1cls.csv                    object,split,label,image,mask: what is for training
"""

from __future__ import annotations

import csv
from pathlib import Path

from calibration.layouts.dataset import GOOD, DataSet, LabelledFile, Layout
from pipeline.errors import InputError
from stages.image_files import image_files

NAME = "VisA"
ANOMALY = "anomaly"
"""The kind of a defect without a type of its own."""
COMBINED = "combined"
"""The kind of a part with defects of several types, as MVTec AD calls it."""
NO_TYPE = frozenset({"", "normal", GOOD})
"""Labels, in small letters, that name no type of defect."""
NORMAL = Path("Data", "Images", "Normal")
DEFECTIVE = Path("Data", "Images", "Anomaly")
MASKS = Path("Data", "Masks", "Anomaly")
SPLIT = Path("split_csv", "1cls.csv")
TEST_EVERY = 10
"""Without a split file, one normal image in so many is for tests, as in the published split."""

Row = dict[str, str]
Rows = list[Row]


def _matches(folder: Path) -> bool:
    return (folder / NORMAL).is_dir()


def _read(folder: Path) -> DataSet:
    here = folder.resolve()
    split, types = here.parent / SPLIT, _types(here)
    return _split(here, split, types) if split.is_file() else _own_split(here, types)


def _split(here: Path, file: Path, types: dict[str, str]) -> DataSet:
    """Training and test images as the split file says."""
    rows = _rows(file, ("object", "split", "label", "image", "mask"))
    own = [row for row in rows if row["object"] == here.name]
    if not own:
        known = ", ".join(sorted({row["object"] for row in rows}))
        raise InputError(f"{file}: no rows for the object {here.name}, only for: {known}")
    normals, tests = [], []
    for row in own:
        path = _below(here, row["image"], file)
        defective = _one_of(("normal", "anomaly"), row, "label", file) == "anomaly"
        if _one_of(("train", "test"), row, "split", file) == "test":
            tests.append(_labelled(here, path, types, defective, row["mask"]))
        elif not defective:
            normals.append(path)
    return _data_set(here, normals, tests)


def _own_split(here: Path, types: dict[str, str]) -> DataSet:
    """Every tenth normal image and all defective ones for tests, the others for training."""
    normals = image_files(here / NORMAL)
    defective = image_files(here / DEFECTIVE) if (here / DEFECTIVE).is_dir() else []
    tests = [_labelled(here, path, types, False) for path in normals[::TEST_EVERY]]
    tests += [_labelled(here, path, types, True) for path in defective]
    kept = [path for index, path in enumerate(normals) if index % TEST_EVERY]
    why = (
        f"no such file: of the normal images, one in {TEST_EVERY} is taken for tests and the "
        "others for training, which is not the published split"
    )
    return _data_set(here, kept, tests, ((f"../{SPLIT.as_posix()}", why),))


def _data_set(
    here: Path,
    normals: list[Path],
    tests: list[LabelledFile],
    unusable: tuple[tuple[str, str], ...] = (),
) -> DataSet:
    ordered = sorted(tests, key=lambda test: (test.kind, test.name))
    return DataSet(NAME, here, tuple(sorted(normals)), tuple(ordered), unusable)


def _labelled(
    here: Path, path: Path, types: dict[str, str], defective: bool, mask: str = ""
) -> LabelledFile:
    name = path.relative_to(here).as_posix()
    if not defective:
        return LabelledFile(path, name, GOOD, ())
    usual = here / MASKS / f"{path.stem}.png"
    places = (here.parent / mask, usual) if mask else (usual,)
    return LabelledFile(path, name, types.get(path.name, ANOMALY), places)


def _types(here: Path) -> dict[str, str]:
    """The type of defect of each defective image by its file's name, as far as it is known."""
    file = here / "image_anno.csv"
    if not file.is_file():
        return {}
    rows = _rows(file, ("image", "label"))
    return {
        Path(row["image"]).name: _kind(row["label"])
        for row in rows
        if Path(row["image"]).parent.name != "Normal"
    }


def _kind(label: str) -> str:
    names = {name.strip() for name in label.split(",")}
    types = {name for name in names if name.casefold() not in NO_TYPE}
    return COMBINED if len(types) > 1 else next(iter(types), ANOMALY)


def _below(here: Path, image: str, file: Path) -> Path:
    path = here.parent / image
    if not path.is_relative_to(here):
        raise InputError(f"{file}: the image {image} does not lie below {here.name}/")
    return path


def _one_of(known: tuple[str, ...], row: Row, column: str, file: Path) -> str:
    """A row's value in small letters. Raises InputError where it is none of the known ones."""
    value = row[column].strip().casefold()
    if value not in known:
        raise InputError(
            f"{file}: in the row of {row['image']}, {column} is {row[column]!r}; expected "
            f"{' or '.join(known)}"
        )
    return value


def _rows(file: Path, columns: tuple[str, ...]) -> Rows:
    """The rows of a CSV file with these columns. Raises InputError where it has others."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            reader = csv.DictReader(lines, restval="")
            rows, found = list(reader), reader.fieldnames or ()
    except (OSError, csv.Error) as error:
        raise InputError(f"{file}: cannot be read: {error}") from error
    if not set(columns) <= set(found):
        raise InputError(
            f"{file}: expected a table with the columns {', '.join(columns)} in its first line, "
            f"found {', '.join(found) or 'an empty file'}"
        )
    return rows


VISA = Layout(
    name=NAME,
    looks_like="an object's folder with Data/Images/Normal/, Data/Images/Anomaly/ and "
    "Data/Masks/Anomaly/, and split_csv/1cls.csv beside it",
    matches=_matches,
    read=_read,
)
