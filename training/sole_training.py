"""A work folder has one training at a time: two would replace each other's checkpoints."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import TrainingError
from pipeline.lock_file import open_lock, other_owner, sign_lock
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
        lock = open_lock(folder / LOCK_FILE)
    except OSError as error:
        raise TrainingError(f"{folder}: nothing can be written there ({error.strerror})") from error
    try:
        owner = other_owner(lock)
        if owner is not None:
            raise TrainingError(
                f"{folder} is in use by another training (process {owner}); wait for it, or give "
                "this one an --out of its own"
            )
        sign_lock(lock, str(os.getpid()))
        yield
    finally:
        os.close(lock)
