"""The layout of MVTec AD, which MPDD, DTD-Synthetic and VisA's reorganised form share.

DIR/train/good/*.png                       normal parts
DIR/test/good/*.png                        good parts to test with
DIR/test/<type>/<name>.png                 parts with a defect of this type
DIR/ground_truth/<type>/<name>_mask.png    where the defect is (VisA: <name>.png)
"""

from __future__ import annotations

from pathlib import Path

from calibration.layouts.dataset import (
    GOOD,
    DataSet,
    LabelledFile,
    Layout,
    child,
    own_images,
    subfolders,
)
from stages.image_files import MASK_FOLDER, image_files

NAME = "MVTec"
MASK_NAMES = ("{}_mask.png", "{}.png", "{}_mask.PNG", "{}.PNG", "{}_mask.bmp", "{}.bmp")


def _matches(folder: Path) -> bool:
    return child(folder, "train", GOOD) is not None or child(folder, "test") is not None


def _read(folder: Path) -> DataSet:
    normals = child(folder, "train", GOOD)
    test = child(folder, "test")
    kinds = [] if test is None else [(kind, image_files(kind)) for kind in subfolders(test)]
    return DataSet(
        layout=NAME,
        normal_root=normals or folder / "train" / GOOD,
        normals=() if normals is None else tuple(sorted(image_files(normals))),
        tests=tuple(_labelled(folder, kind, file) for kind, files in kinds for file in files),
        unusable=() if test is None else _unusable(test, kinds),
    )


def _unusable(test: Path, kinds: list[tuple[Path, list[Path]]]) -> tuple[tuple[str, str], ...]:
    """Types without images and images without a type."""
    empty = [
        (f"{test.name}/{kind.name}/", "a type without images") for kind, files in kinds if not files
    ]
    count = len(own_images(test))
    counted = f"{count} images" if count > 1 else "one image"
    stray = [(f"{test.name}/", f"{counted} directly in {test.name}/, of no kind")] if count else []
    return (*empty, *stray)


def _labelled(folder: Path, kind: Path, file: Path) -> LabelledFile:
    name = GOOD if kind.name.casefold() == GOOD else kind.name
    truth = child(folder, MASK_FOLDER, kind.name) or folder / MASK_FOLDER / kind.name
    masks = tuple(truth / mask.format(file.stem) for mask in MASK_NAMES)
    return LabelledFile(file, file.relative_to(folder).as_posix(), name, masks)


MVTEC = Layout(
    name=NAME,
    looks_like="train/good/ and test/good/*.png for good parts, test/<type>/*.png for each type "
    "of defect, ground_truth/<type>/<name>_mask.png for the masks; MPDD, DTD-Synthetic and VisA "
    "as reorganised look the same",
    matches=_matches,
    read=_read,
)
