"""How many parts the camera's process has numbered: by its own count, and nobody else's word."""

from __future__ import annotations

import mmap
import struct
from contextlib import suppress
from pathlib import Path

from pipeline.run_folder import SESSION_FILE

COUNTER_FILE = "sequence"
"""In the run folder: the last number, as `stages.acquisition.sequence` stores it."""
_NUMBER = struct.Struct("=Q")


class PartCounters:
    """Takes hold of the counter of each session, so that it stays when the line deletes it."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._counters: dict[str, mmap.mmap] = {}

    def look(self) -> None:
        """Find the counter of the present session, where there is one already."""
        with suppress(FileNotFoundError, ValueError):  # no line, or one that has not numbered yet
            session = self._session()
            with (self._run_dir / COUNTER_FILE).open("rb") as file:
                counter = mmap.mmap(file.fileno(), _NUMBER.size, access=mmap.ACCESS_READ)
            if session == self._session():  # else another line took its place meanwhile
                self._counters[session] = counter

    def numbered(self) -> dict[str, int]:
        """The last number that was given out, by session."""
        return {
            session: int(_NUMBER.unpack(counter[:])[0])
            for session, counter in self._counters.items()
        }

    def _session(self) -> str:
        return (self._run_dir / SESSION_FILE).read_text(encoding="ascii").strip()
