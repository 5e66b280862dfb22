"""An append-only journal of typed records: written by one process, followed by another.

One record is one line of JSON. A line is written by a single `write`, so a killed writer leaves
whole lines; a line torn by a power cut has no newline and is dropped when the writer returns. The
journal is cut into numbered segments that each begin with a snapshot of the writer's state, which
keeps a restart short however long the session is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from pipeline.errors import LineError

T = TypeVar("T", bound=msgspec.Struct)
_SEGMENT = re.compile(r"^(?P<session>[A-Za-z0-9-]+)\.(?P<number>\d{6})\.jsonl$")


@dataclass(frozen=True, order=True)
class Segment:
    """One file of a journal, `<session>.<number>.jsonl`."""

    session: str
    number: int

    @property
    def file_name(self) -> str:
        """Name of the file within the journal's folder."""
        return f"{self.session}.{self.number:06d}.jsonl"


def segments(folder: Path, session: str | None = None) -> list[Segment]:
    """The segments in a folder, oldest first; of one session, or of all."""
    found = []
    for file in folder.glob("*.jsonl"):
        match = _SEGMENT.match(file.name)
        if match and session in (None, match["session"]):
            found.append(Segment(match["session"], int(match["number"])))
    return sorted(found)


class JournalWriter:
    """Appends records to a session's journal. Not for use by two processes at once."""

    def __init__(self, folder: Path, session: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        existing = segments(folder, session)
        self._segment = existing[-1] if existing else Segment(session, 1)
        self._encoder = msgspec.json.Encoder()
        self._file = self._open(self._segment)

    def append(self, *records: msgspec.Struct) -> None:
        """Write records, all or none as far as a killed process goes. Raises OSError."""
        lines = b"".join(self._encoder.encode(record) + b"\n" for record in records)
        start = os.fstat(self._file).st_size
        written = os.write(self._file, lines)
        if written != len(lines):
            os.ftruncate(self._file, start)
            raise OSError(f"journal: only {written} of {len(lines)} bytes could be written")

    def next_segment(self, *snapshot: msgspec.Struct) -> None:
        """Go on in a new segment that begins with `snapshot`. Raises OSError."""
        following = Segment(self._segment.session, self._segment.number + 1)
        opened = self._open(following)
        os.close(self._file)
        self._segment, self._file = following, opened
        self.append(*snapshot)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _open(self, segment: Segment) -> int:
        path = self._folder / segment.file_name
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o640)
        _drop_torn_line(descriptor)
        return descriptor


def _drop_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, min(size, 1 << 20), max(0, size - (1 << 20)))
    if tail and not tail.endswith(b"\n"):
        os.ftruncate(descriptor, size - len(tail) + tail.rfind(b"\n") + 1)


def read_lines(folder: Path, segment: Segment, offset: int) -> Iterator[tuple[bytes, int]]:
    """Whole lines of a segment from a byte offset on, each with the offset behind it.

    A segment that does not exist (any more) has no lines.
    """
    try:
        with (folder / segment.file_name).open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                yield line, offset
    except FileNotFoundError:
        return


def decode(line: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """One line as a record. Raises LineError where it is not a record of this kind."""
    try:
        return decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LineError(f"journal: damaged line {line[:80]!r}: {error}") from error
