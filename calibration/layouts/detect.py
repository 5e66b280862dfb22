"""The one place that decides which layout a folder of images has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from calibration.layouts.dagm import DAGM
from calibration.layouts.dataset import GOOD, DataSet, Layout, child, subfolders
from calibration.layouts.mvtec import MVTEC
from calibration.layouts.visa import VISA
from pipeline.errors import InputError
from stages.image_files import MASK_FOLDER, image_files

LAYOUTS = (DAGM, VISA, MVTEC)
"""In the order in which they are tried: what is more particular comes first."""
PLAIN = "plain folder"
DEPTH = 2
"""How many folders below the one that is given a data set is looked for, to name it."""
LISTED = 15

_NOT_NORMAL = frozenset({"test", MASK_FOLDER})
_NOT_NORMAL_PAIRS = frozenset(
    {
        ("images", "anomaly"),
        ("data", "masks"),
        ("masks", "anomaly"),
        ("train", "label"),
        ("test", "label"),
    }
)
"""Names, alone and with that of the folder above, of folders whose images may show defects."""


def read_dataset(folder: Path) -> DataSet:
    """The images of a folder, sorted by what they are for; a plain folder has normal ones alone.

    Raises InputError where there is no such folder, where it holds several data sets (named, to
    choose from), or where a list in it contradicts it.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder: there is no such folder. Give one with images of parts"
        )
    layout = layout_of(folder)
    if layout is not None:
        return layout.read(folder)
    below = list(_data_sets_below(folder, DEPTH))
    if below:
        raise InputError(_several(folder, below))
    return DataSet(PLAIN, folder, tuple(sorted(image_files(folder))))


def normal_images(folder: Path) -> DataSet:
    """The data set of a folder to train or calibrate on: `normals` may be used, nothing else.

    Raises InputError like `read_dataset`, and where the folder holds images that may be
    defective and no way to tell which are not.
    """
    data = read_dataset(folder)
    if data.layout != PLAIN and not data.normals:
        raise InputError(
            f"{folder}: a folder in the {data.layout} layout with no images in "
            f"{_relative(data.normal_root, folder)}; its test images may be defective and are "
            "neither for training nor for calibration. Give a folder of good parts alone"
        )
    mixed = _mixed(folder) if data.layout == PLAIN else None
    if mixed is not None:
        raise InputError(
            f"{folder}: {mixed} holds test images or masks, which may show defects. Give the "
            "data set's folder as it was published, or one of good parts alone.\n"
            f"{_expected()}"
        )
    return data


def labelled_images(folder: Path) -> DataSet:
    """The data set of a folder to evaluate on: `tests` has at least one image.

    Raises InputError that says which layouts were looked for and what was found instead.
    """
    data = read_dataset(folder)
    if not data.tests:
        found = "no data set" if data.layout == PLAIN else f"the {data.layout} layout"
        raise InputError(
            f"{folder}: {found}, with no test images; it holds {_contents(folder)}.\n{_expected()}"
        )
    return data


def layout_of(folder: Path) -> Layout | None:
    """The layout of a folder that is a data set itself, else None."""
    return next((layout for layout in LAYOUTS if layout.matches(folder)), None)


def _data_sets_below(folder: Path, depth: int) -> Iterator[tuple[Path, Layout]]:
    """Data sets in the folders of a folder, and what they are."""
    for inner in subfolders(folder):
        layout = layout_of(inner)
        if layout is not None:
            yield inner, layout
        elif depth > 1:
            yield from _data_sets_below(inner, depth - 1)


def _several(folder: Path, below: list[tuple[Path, Layout]]) -> str:
    names = [_relative(inner, folder) for inner, _ in below]
    layouts = " and ".join(sorted({layout.name for _, layout in below}))
    counted = f"{len(names)} objects" if len(names) > 1 else "one object"
    return (
        f"{folder} holds {counted} in the {layouts} layout, each a data set of its own. Give one "
        f"of them, as in {below[0][0]}: {_some(names)}"
    )


def _mixed(folder: Path) -> str | None:
    """The first folder that may show defects: the given one, or one of those below it."""
    here = folder.resolve()
    inner = subfolders(here)
    for path in (here, *inner, *(deep for outer in inner for deep in subfolders(outer))):
        above, name = path.parent.name.casefold(), path.name.casefold()
        if (above, name) in _NOT_NORMAL_PAIRS:
            return "it" if path == here else f"{_relative(path, here)}/"
    return "it" if here.name.casefold() in _NOT_NORMAL or _is_type_of_defect(here) else None


def _is_type_of_defect(here: Path) -> bool:
    """Whether this is test/<type>/ with test/good/ beside it."""
    in_test = here.parent.name.casefold() == "test" and here.name.casefold() != GOOD
    return in_test and child(here.parent, GOOD) is not None


def _contents(folder: Path) -> str:
    names = [f"{path.name}/" for path in subfolders(folder)]
    folders = f"the folders {_some(names)}" if names else "no folder"
    images = sum(file.parent == folder for file in image_files(folder))
    return f"{images} image files and {folders}"


def _expected() -> str:
    layouts = [f"the {layout.name} layout: {layout.looks_like}" for layout in reversed(LAYOUTS)]
    return "Expected " + "\n  or ".join(layouts)


def _some(names: list[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _relative(path: Path, folder: Path) -> str:
    """A path as seen from the data set's folder, or whole where it lies elsewhere."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
