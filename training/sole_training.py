"""A work folder has one training at a time: two would replace each other's checkpoints."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import TrainingError
from training.distributed import World

LOCK_FILE = "lock"


@contextlib.contextmanager
def sole_training(folder: Path, world: World) -> Iterator[None]:
    """Makes `folder`, and keeps every other training out of it meanwhile.

    The lock file stays: it is the lock on it that counts, and it ends with the process. Of several
    processes the first has it. Raises TrainingError, in all of them, where another training has it
    or nothing can be written there.
    """
    with contextlib.ExitStack() as held:
        world.of_first(lambda: held.enter_context(_locked(folder)))
        yield


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise TrainingError(f"{folder}: nothing can be written there ({error.strerror})") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
            raise TrainingError(
                f"{folder} is in use by another training (process {owner}); wait for it, or give "
                "this one an --out of its own"
            ) from error
        with contextlib.suppress(OSError):  # a full disk has no room for the name; the lock holds
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)
