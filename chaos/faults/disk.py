"""The disk of the reject log: full, and not writable. Ledger and logs lie on another one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from chaos.fault import DISK_SIZE, Fault, Hall, Kind
from pipeline.errors import LineError

SPARE_BYTES = 1 << 16
"""For what is written between the look and the deed."""


def disk_of(hall: Hall) -> Path:
    """The reject log's own disk, which these kinds need."""
    assert hall.data_disk is not None, "the campaign asks for it before"
    return hall.data_disk


@dataclass
class DiskFull(Fault):
    """Next to nothing is left: the file system is made as small as what lies on it."""

    def inflict(self, hall: Hall) -> None:
        state = os.statvfs(disk_of(hall))
        used = (state.f_blocks - state.f_bfree) * state.f_frsize
        _run("mount", "-o", f"remount,size={used + SPARE_BYTES}", str(disk_of(hall)))

    def end(self, hall: Hall) -> None:
        _run("mount", "-o", f"remount,{DISK_SIZE}", str(disk_of(hall)))


@dataclass
class DiskReadOnly(Fault):
    """In the folder's place is one that nobody can write to, as after a mount that failed."""

    def inflict(self, hall: Hall) -> None:
        folder = disk_of(hall)
        links = {name: (folder / name).readlink() for name in ("ledger", "log")}
        _run("mount", "-t", "tmpfs", "-o", "size=1m", "chaos", str(folder))
        for name, target in links.items():
            (folder / name).symlink_to(target)
        _run("mount", "-o", "remount,ro", str(folder))

    def end(self, hall: Hall) -> None:
        _run("umount", "--lazy", str(disk_of(hall)))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LineError(f"{' '.join(command[:2])}: {done.stderr.strip()}")


def kinds() -> Iterator[Kind]:
    """The kinds of this module."""
    yield Kind("disk full", lambda drawn: DiskFull(_hold_s(drawn), shows=True), _no_disk)
    yield Kind("disk read-only", lambda drawn: DiskReadOnly(_hold_s(drawn), shows=True), _no_disk)


def _hold_s(drawn: Random) -> float:
    return drawn.uniform(2, 5)


def _no_disk(hall: Hall) -> str:
    return "" if hall.data_disk is not None else "a file system of its own needs root"
