"""A disk of a few megabytes that can really be full: a file system of its own, which needs root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """`folder` is a disk of this size, such as `4m`, while this is entered; skips without root."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "small-disk", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all that is left of a disk; the file to delete for room."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while file.write(b"\0" * size) == size:
                    continue
            except OSError:  # full: the smaller pieces follow
                continue
    return ballast
