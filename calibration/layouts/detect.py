"""The one place that decides which layout a folder of images has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from calibration.layouts.dagm import DAGM
from calibration.layouts.dataset import GOOD, DataSet, Layout, child, own_images, subfolders
from calibration.layouts.mvtec import MVTEC
from calibration.layouts.visa import VISA
from pipeline.errors import InputError
from stages.image_files import MASK_FOLDER, image_files

LAYOUTS = (DAGM, VISA, MVTEC)
"""In the order in which they are tried: what is more particular comes first."""
PLAIN = "plain folder"
_ANY_DEPTH = frozenset({PLAIN, MVTEC.name})
"""Layouts whose normal images may lie in folders of any name below the one of good parts."""
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

    Raises InputError where it is no folder, where it holds several data sets (named, to
    choose from), or where a list in it contradicts it.
    """
    if not folder.is_dir():
        found = "it is a file" if folder.exists() else "there is no such folder"
        raise InputError(f"{folder} is not a folder: {found}. Give one with images of parts")
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
        where = _relative(data.normal_root, folder)
        raise InputError(
            f"{folder}: a folder in the {data.layout} layout with no images in {where} that are "
            f"known to be good{_unusable(data)}; its test images may be defective and are neither "
            "for training nor for calibration. Give a folder of good parts alone"
        )
    root = data.normal_root
    mixed = _mixed(root, data.normals) if data.layout in _ANY_DEPTH else None
    if mixed is not None:
        raise InputError(
            f"{root}: {mixed} holds test images or masks, which may show defects. Give the "
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
            f"{folder}: {found}, with no test images{_unusable(data)}; it holds "
            f"{_contents(folder)}.\n{_expected()}"
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


def _mixed(folder: Path, images: Iterable[Path]) -> str | None:
    """The first folder that may show defects: the given one, or one on the way to an image."""
    here = folder.resolve()
    holding = {image.parent.relative_to(folder) for image in images}
    for way in sorted({Path(), *holding, *(above for path in holding for above in path.parents)}):
        path = here / way
        if _may_show_defects(path) or _may_show_defects(path.resolve()):
            return "it" if path == here else f"{way.as_posix()}/"
    return None


def _may_show_defects(folder: Path) -> bool:
    """Whether the images of a folder may be test images or masks, by the names around it."""
    name, inner = folder.name.casefold(), [path.name.casefold() for path in subfolders(folder)]
    pairs = {(folder.parent.name.casefold(), name), *((name, below) for below in inner)}
    up = (folder, *folder.parents)
    return (
        name in _NOT_NORMAL
        or not _NOT_NORMAL_PAIRS.isdisjoint(pairs)
        or any(path.name.casefold() == MASK_FOLDER or _is_type_of_defect(path) for path in up)
    )


def _is_type_of_defect(here: Path) -> bool:
    """Whether this is test/<type>/ with a good/ or masks beside it, as a data set has them."""
    test, above = here.parent, here.parent.parent
    if test.name.casefold() != "test" or here.name.casefold() == GOOD:
        return False
    beside = (child(test, GOOD), child(above, "train", GOOD), child(above, MASK_FOLDER))
    return any(folder is not None for folder in beside)


def _contents(folder: Path) -> str:
    names = [f"{path.name}/" for path in subfolders(folder)]
    folders = f"the folders {_some(names)}" if names else "no folder"
    return f"{len(own_images(folder))} image files and {folders}"


def _unusable(data: DataSet) -> str:
    missing = "; ".join(f"{name}: {why}" for name, why in data.unusable)
    return f" ({missing})" if missing else ""


def _expected() -> str:
    layouts = [f"the {layout.name} layout: {layout.looks_like}" for layout in reversed(LAYOUTS)]
    return "Expected " + "\n  or ".join(layouts)


def _some(names: list[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _relative(path: Path, folder: Path) -> str:
    """A path as seen from the data set's folder, or whole where it lies elsewhere."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
