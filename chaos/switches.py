"""What is wrong inside the line's processes now: a few numbers in a file that all of them map."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

ENVIRONMENT = "INSPECTION_CHAOS_SWITCHES"
"""Variable that names the file to the line's processes."""
CLOCK, CAMERA, LOAD, DAMAGE = "clock_ns", "camera", "load_percent", "damage"
OBEYED = "obeyed"
"""Not 0 as soon as a process has acted on one of them."""
SLOTS = (CLOCK, CAMERA, LOAD, DAMAGE, OBEYED)
_NUMBER = struct.Struct("=q")


class Switches:
    """Numbers by name, 0 until they are set; a change is seen at once by every process."""

    def __init__(self, path: Path) -> None:
        size = _NUMBER.size * len(SLOTS)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, size)
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def __getitem__(self, name: str) -> int:
        number: int
        (number,) = _NUMBER.unpack_from(self._map, _NUMBER.size * SLOTS.index(name))
        return number

    def __setitem__(self, name: str, number: int) -> None:
        _NUMBER.pack_into(self._map, _NUMBER.size * SLOTS.index(name), number)

    def obeyed(self, name: str) -> int:
        """The number, by which the caller acts now: where it is not 0, the campaign is told."""
        number = self[name]
        if number:
            self[OBEYED] = 1
        return number
