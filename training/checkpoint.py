"""Checkpoints of a training: written whole or not at all, read back without running code."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import InputError, TrainingError

CHECKPOINT_FILE = "checkpoint.pt"
BEFORE = ".before"
"""Ending of the checkpoint of the training before."""
FORMAT_VERSION = 3
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError),
    *(OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError),
)
"""What reading a damaged file raises, in `zipfile` and in PyTorch."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> int:
    """Write tensors, numbers and text to `path`; an older checkpoint stays until this is whole.

    Gives the size in bytes. Raises TrainingError where it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            size = _write_durably(unfinished, {"format_version": FORMAT_VERSION, **state})
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return size


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote, on the CPU.

    Raises InputError if it is missing, damaged or of another version of this program.
    """
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}: start the training without --resume")
    try:
        state = _read(path)
    except DAMAGE as error:
        raise InputError(
            f"the checkpoint {path} cannot be read ({error}): start without --resume"
        ) from error
    if not isinstance(state, dict) or state.pop("format_version", None) != FORMAT_VERSION:
        raise InputError(
            f"the checkpoint {path} is of another version of this program: start without --resume"
        )
    return state


def set_aside(path: Path) -> None:
    """Keep the checkpoint of an earlier training, if there is one, under another name.

    Raises TrainingError where it cannot be renamed.
    """
    if path.exists():
        with writing(path):
            path.replace(path.with_name(path.name + BEFORE))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises TrainingError, in words, where `path` cannot be written, as on a full disk."""
    try:
        yield
    except OSError as error:
        saved = path.with_name(CHECKPOINT_FILE).is_file()
        raise TrainingError(
            f"{path} cannot be written ({error.strerror or error}). What was there before is as it "
            f"was{', the last checkpoint too' if saved else ''}: make room on the disk or mend the "
            "rights of the folder, then go on with --resume"
            f"{'' if saved else ', or start again where there is no checkpoint yet'}"
        ) from error


def _read(path: Path) -> Any:
    """Raises one of DAMAGE, which PyTorch alone would not do for tensors with other bytes."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} is damaged")
    return torch.load(path, map_location="cpu", weights_only=True)


def _write_durably(path: Path, state: dict[str, Any]) -> int:
    """Size in bytes. Raises OSError, which PyTorch hides behind an error of its own."""
    with path.open("wb") as out:
        try:
            torch.save(state, out)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise
        out.flush()
        os.fsync(out.fileno())
        return out.tell()
