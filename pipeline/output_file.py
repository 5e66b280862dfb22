"""Whether a place for results can be written, asked before the work."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipeline.errors import ConfigError


def check_can_write(option: str, path: Path) -> None:
    """Raises ConfigError where nothing can be written beside `path`; `option` named it."""
    parent = path.resolve().parent
    if not parent.is_dir():
        raise ConfigError(f"{option} {path}: there is no folder {parent}; make it first")
    try:
        try_writing(parent)
    except OSError as error:
        raise ConfigError(
            f"{option} {path}: nothing can be written in {parent} ({error.strerror or error}); "
            "give another place"
        ) from error


def try_writing(folder: Path) -> None:
    """Raises OSError where nothing could be written in `folder`, or where that is to be made if it
    is not there yet. Leaves nothing behind.
    """
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    with tempfile.TemporaryFile(dir=existing):
        pass
