"""The count of parts, kept in a file so that no number is given out twice."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from pipeline.errors import LineError

_NUMBER = struct.Struct("=Q")


class SequenceCounter:
    """The last sequence number of a session in an 8-byte mapped file.

    The kernel keeps what was stored when the process is killed. One process counts at a time.
    Raises LineError where the file is not such a counter.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size not in (0, _NUMBER.size):
                raise LineError(
                    f"{path}: {size} bytes, not a counter of parts; stop the line and delete it"
                )
            os.ftruncate(descriptor, _NUMBER.size)
            self._map = mmap.mmap(descriptor, _NUMBER.size)
        finally:
            os.close(descriptor)

    @property
    def last(self) -> int:
        """The number given out last; 0 before the first."""
        number: int
        (number,) = _NUMBER.unpack(self._map[:])
        return number

    def next(self) -> int:
        """The next number, from 1; stored before it is returned."""
        number = self.last + 1
        self._map[:] = _NUMBER.pack(number)
        return number

    def close(self) -> None:
        """Close the file; the count stays in it."""
        self._map.close()
