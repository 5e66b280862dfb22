"""Whether the place that an option names for a result can be written, asked before the work."""

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
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise ConfigError(
            f"{option} {path}: nothing can be written in {parent} ({error.strerror or error}); "
            "give another place"
        ) from error
