"""The layout of DAGM 2007: one class of it.

ClassN/Train/0001.PNG               images with and without a defect
ClassN/Train/Label/0576_label.PNG   where the defect of Train/0576.PNG is
ClassN/Train/Label/Labels.txt       which images have a defect
ClassN/Test/...                     the same
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from calibration.layouts.dataset import GOOD, DataSet, LabelledFile, Layout, child, own_images
from pipeline.errors import InputError
from stages.image_files import image_files

NAME = "DAGM 2007"
DEFECT = "defect"
"""The one kind of defect of a class."""
UNLABELLED = (
    "no such folder, or an empty one: nothing says which of the images beside it show a defect, "
    "none of them is used"
)


@dataclass(frozen=True)
class _Half:
    """Train/ or Test/: its images and where the label of each lies or ought to lie.

    A label image or a mark in Labels.txt each suffice to make an image defective. Without
    anything in Label/ all images would pass for good ones: none is used then.
    """

    images: tuple[Path, ...]
    unusable: tuple[tuple[str, str], ...]
    folder: Path
    labels: dict[str, Path]
    marked: frozenset[str]

    def defective(self, image: Path) -> bool:
        return self._label_name(image) in self.labels or image.name.casefold() in self.marked

    def label(self, image: Path) -> Path:
        return self.labels.get(self._label_name(image), self.folder / f"{image.stem}_label.PNG")

    @staticmethod
    def _label_name(image: Path) -> str:
        return f"{image.stem}_label".casefold()


def _matches(folder: Path) -> bool:
    """Whether a half has labels and a half has images; one with good/ is of MVTec's layout.

    There Label/ is a type of defect.
    """
    found = (child(folder, name) for name in ("Train", "Test"))
    halves = [half for half in found if half is not None]
    return (
        any(child(half, "Label") is not None for half in halves)
        and all(child(half, GOOD) is None for half in halves)
        and any(own_images(half) for half in halves)
    )


def _read(folder: Path) -> DataSet:
    train, test = _half(folder, "Train"), _half(folder, "Test")
    return DataSet(
        layout=NAME,
        normal_root=child(folder, "Train") or folder / "Train",
        normals=tuple(sorted(image for image in train.images if not train.defective(image))),
        tests=tuple(_labelled(folder, test, image) for image in test.images),
        unusable=train.unusable + test.unusable,
    )


def _half(folder: Path, name: str) -> _Half:
    half, labels = child(folder, name), child(folder, name, "Label")
    images = [] if half is None else own_images(half)
    label_files = [] if labels is None else image_files(labels)
    told = labels is not None and any(labels.iterdir())
    return _Half(
        images=tuple(images) if told else (),
        unusable=() if told or not images else ((f"{name}/Label/", UNLABELLED),),
        folder=labels or folder / name / "Label",
        labels={file.stem.casefold(): file for file in label_files},
        marked=frozenset() if labels is None else _marked(labels),
    )


def _labelled(folder: Path, half: _Half, image: Path) -> LabelledFile:
    name = image.relative_to(folder).as_posix()
    if half.defective(image):
        return LabelledFile(image, name, DEFECT, (half.label(image),))
    return LabelledFile(image, name, GOOD, ())


def _marked(labels: Path) -> frozenset[str]:
    """Names of the images that Labels.txt calls defective, in small letters.

    Its rows are: number, 1 for defective, image, 0, label image; the first row is a lone 1.
    """
    lists = [path for path in labels.iterdir() if path.name.casefold() == "labels.txt"]
    if not lists:
        return frozenset()
    try:
        text = lists[0].read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{lists[0]}: cannot be read: {error.strerror or error}") from error
    rows = [line.split() for line in text.splitlines()]
    return frozenset(row[2].casefold() for row in rows if len(row) >= 3 and row[1] == "1")


DAGM = Layout(
    name=NAME,
    looks_like="a class folder with Train/*.PNG, Test/*.PNG and in each of these "
    "Label/<name>_label.PNG and Label/Labels.txt",
    matches=_matches,
    read=_read,
)
