"""The data folder of a line has one owner: two would close each other's parts in its ledger."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.config import LineConfig
from pipeline.errors import ConfigError, LineError
from pipeline.lock_file import open_lock, other_owner, sign_lock, signed_by
from pipeline.output_file import try_writing

LOCK_FILE = "lock"


@contextlib.contextmanager
def owned_data_folder(config: LineConfig) -> Iterator[None]:
    """Makes the line's data folder, and keeps every other line out of it meanwhile.

    The lock file stays: it is the lock on it that counts, and it ends with the process. Raises
    ConfigError where the folder cannot be made or written or is another line's, LineError where a
    line has it.
    """
    lock = _opened(config.data_folder)
    try:
        owner = _owner_of(lock)
        if owner:
            raise _in_use(config.data_folder, owner)
        _refuse_a_stranger(config, lock)
        sign_lock(lock, f"{_name(config)}process {os.getpid()})")
        yield
    finally:
        os.close(lock)


def check_data_folder(config: LineConfig) -> None:
    """Whether the line could have its data folder. Raises ConfigError or LineError.

    A line of this number that has it is the line that is asked about. Nothing is made: who checks
    may be another user than the one that the line will run as.
    """
    folder = config.data_folder
    if not (folder / LOCK_FILE).exists():
        try:
            try_writing(folder)
        except OSError as error:
            raise _no_use(folder, error) from error
        return
    lock = _opened(folder)
    try:
        owner = _owner_of(lock)
        if owner and not owner.startswith(_name(config)):
            raise _in_use(folder, owner)
        if not owner:
            _refuse_a_stranger(config, lock)
    finally:
        os.close(lock)


def running_line(config: LineConfig) -> str:
    """The line of this number that has its data folder now, with its process; empty if none, or if
    this user may not know.
    """
    try:
        lock = os.open(config.data_folder / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        owner = _owner_of(lock)
    finally:
        os.close(lock)
    return owner if owner.startswith(_name(config)) else ""


def _refuse_a_stranger(config: LineConfig, lock: int) -> None:
    """What another line left there would be taken for this one's parts."""
    last, found, _ = signed_by(lock).partition(" (")
    if found and last != f"line {config.line}":
        raise ConfigError(
            f"data_folder {config.data_folder} has the parts of {last}; give line {config.line} a "
            f"data_folder of its own. If it is {last} under a new number, remove "
            f"{config.data_folder / LOCK_FILE}"
        )


def _name(config: LineConfig) -> str:
    return f"line {config.line} ("


def _opened(folder: Path) -> int:
    try:
        return open_lock(folder / LOCK_FILE)
    except OSError as error:
        raise _no_use(folder, error) from error


def _owner_of(lock: int) -> str:
    """Who else has the lock; empty where it is now this process that has it."""
    owner = other_owner(lock)
    return "" if owner is None else owner or "a line"


def _no_use(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"data_folder {folder}: nothing can be written there ({error.strerror}); mend the "
        "folder's rights or its disk, or set data_folder"
    )


def _in_use(folder: Path, owner: str) -> LineError:
    return LineError(
        f"data_folder {folder} is in use by {owner}; stop that line first, or give each line a "
        "data_folder of its own"
    )
