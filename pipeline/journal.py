"""An append-only journal of typed records: written by one process, followed by another.

One record is one line of JSON. A line that is torn, by a power cut or a full disk, has no newline:
nobody reads it, and it is dropped when the writer goes on. The journal is cut into numbered
segments that each begin with a snapshot of the writer's state, which keeps a restart short however
long the session is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from pipeline.errors import LineError

T = TypeVar("T", bound=msgspec.Struct)
UNFINISHED = ".unfinished"
"""Ending of a segment whose snapshot is not written yet."""
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


class NotWrittenError(OSError):
    """The disk took only the first `recorded` of some records."""

    def __init__(self, cause: OSError, recorded: int) -> None:
        super().__init__(cause.errno, cause.strerror)
        self.recorded = recorded


class JournalWriter:
    """Appends records to a session's journal. Not for use by two processes at once.

    Constructing raises OSError.
    """

    def __init__(self, folder: Path, session: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f"*{UNFINISHED}"):
            leftover.unlink(missing_ok=True)
        self._folder = folder
        existing = segments(folder, session)
        self._segment = existing[-1] if existing else Segment(session, 1)
        self._encoder = msgspec.json.Encoder()
        self._torn_from: int | None = None
        self._file = _opened(folder / self._segment.file_name)
        _drop_torn_line(self._file)

    def append(self, *records: msgspec.Struct) -> None:
        """Write records in their order, each whole or not at all. Raises NotWrittenError."""
        lines = self._lines(records)
        written = 0
        try:
            self._drop_torn()
            start = os.fstat(self._file).st_size
            for part in _written(self._file, b"".join(lines)):
                written += part
        except OSError as error:
            recorded, size = _whole(lines, written)
            if written > size:
                self._torn_from = start + size
            raise NotWrittenError(error, recorded) from error

    def next_segment(self, *snapshot: msgspec.Struct) -> None:
        """Go on in a new segment that begins with `snapshot`.

        Raises OSError, and then goes on in the present one.
        """
        following = Segment(self._segment.session, self._segment.number + 1)
        path = self._folder / following.file_name
        unfinished = path.with_suffix(UNFINISHED)
        opened = _opened(unfinished)
        try:
            os.ftruncate(opened, 0)
            for _ in _written(opened, b"".join(self._lines(snapshot))):
                continue
            unfinished.replace(path)
        except OSError:
            os.close(opened)
            with suppress(OSError):  # the disk fails already; the next writer removes it
                unfinished.unlink()
            raise
        os.close(self._file)
        self._segment, self._file, self._torn_from = following, opened, None

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _lines(self, records: Sequence[msgspec.Struct]) -> list[bytes]:
        return [self._encoder.encode(record) + b"\n" for record in records]

    def _drop_torn(self) -> None:
        """Take back what a failing disk has left of a line."""
        if self._torn_from is not None:
            os.ftruncate(self._file, self._torn_from)
            self._torn_from = None


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)


def _written(file: int, data: bytes) -> Iterator[int]:
    """Write all of it, and say after each step how many bytes that was. Raises OSError."""
    rest = memoryview(data)
    while rest:
        written = os.write(file, rest)
        yield written
        rest = rest[written:]


def _whole(lines: Sequence[bytes], written: int) -> tuple[int, int]:
    """How many lines the first `written` bytes hold whole, and how many bytes those are."""
    count = size = 0
    for line in lines:
        if size + len(line) > written:
            break
        count, size = count + 1, size + len(line)
    return count, size


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
