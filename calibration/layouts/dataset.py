"""What a folder of images offers, whatever its layout."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stages.image_files import image_files

GOOD = "good"
"""The kind of a part without a defect."""


@dataclass(frozen=True)
class LabelledFile:
    """A test image of a part of this kind; `masks` are the places of its mask, best first."""

    path: Path
    name: str
    kind: str
    masks: tuple[Path, ...]


@dataclass(frozen=True)
class DataSet:
    """Images of normal parts, for training and calibration, and labelled ones, for tests alone.

    `normals` are named relative to `normal_root`; `unusable` are places where part of the data
    set ought to be and is not, each with what that means.
    """

    layout: str
    normal_root: Path
    normals: tuple[Path, ...]
    tests: tuple[LabelledFile, ...] = ()
    unusable: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Layout:
    """One way to lay out a data set: how it is called, looks, is recognised and is read.

    `read` is called for folders that `matches`; it raises InputError where a list in the folder
    contradicts it.
    """

    name: str
    looks_like: str
    matches: Callable[[Path], bool]
    read: Callable[[Path], DataSet]


def child(folder: Path, *names: str) -> Path | None:
    """The folder of these names, one below the other, in capitals or not; None without it."""
    for name in names:
        exact = folder / name
        alike = [path for path in subfolders(folder) if path.name.casefold() == name.casefold()]
        if not alike:
            return None
        folder = exact if exact in alike else alike[0]
    return folder


def own_images(folder: Path) -> list[Path]:
    """The image files in a folder itself, none of those below it."""
    return [file for file in image_files(folder) if file.parent == folder]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder by name, hidden ones left out."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()]
    return [folder / name for name in sorted(names)]
