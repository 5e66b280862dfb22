"""A file that one process has locked, with the owner's name in it; the lock ends with the process.

The file stays: it is the lock on it that counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

LONGEST_NAME = 64


def open_lock(path: Path) -> int:
    """The descriptor of the file, made where it is missing, its folder too. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def other_owner(lock: int) -> str | None:
    """Whoever else has the lock, empty if it gave no name; None where it is now this process."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return signed_by(lock)
    return None


def signed_by(lock: int) -> str:
    """The name of its owner, or of the last one; empty where nobody gave one."""
    return os.pread(lock, LONGEST_NAME, 0).decode(errors="replace").strip()


def sign_lock(lock: int, owner: str) -> None:
    """Write the owner's name; a full disk has no room for it, and the lock holds all the same."""
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{owner}\n".encode(), 0)
