"""Reads the ledger's journal on behalf of the recorder: what is new, and what may be deleted.

The position of each session stands in the database, so this module keeps no state: whatever was
committed is what is read on from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import msgspec

from pipeline.errors import LineError
from pipeline.journal import Segment, decode, read_lines, segments
from pipeline.messages import AnnouncedNote, LedgerLine, Part, PublishedNote, VerdictRecord
from reject_log.store import Position, Store

_VERDICT = b'"verdict/1"'
_decoder: msgspec.json.Decoder[LedgerLine] = msgspec.json.Decoder(LedgerLine)


@dataclass(frozen=True)
class Chunk:
    """Some lines of one segment, and the position behind them.

    `damaged`: why lines could not be read, one text each. `restarted`: the segment is shorter
    than it was, as after a power cut, and was read from its begin. `full`: there may be more.
    """

    records: tuple[VerdictRecord, ...]
    announced: tuple[Part, ...]
    published: tuple[PublishedNote, ...]
    damaged: tuple[str, ...]
    position: Position
    restarted: bool = False
    full: bool = False


def next_chunk(folder: Path, session: str, store: Store, limit: int) -> Chunk | None:
    """At most `limit` new lines, None at the end of the journal. Raises LineError, OSError.

    Sessions left over from earlier runs come first, the oldest before the others, `session` last.
    """
    for name, group in _by_session(folder, session):
        position = store.position(name) or Position(group[0], 0)
        for segment in group:
            if segment < position.segment:
                continue
            offset = position.offset if segment == position.segment else 0
            chunk = _read(folder, Position(segment, offset), limit)
            if chunk is not None:
                return chunk
    return None


def unread_verdicts(folder: Path, positions: Mapping[str, Position]) -> int:
    """Verdicts in the journal behind what is read of each session. Raises OSError."""
    count = 0
    for segment in segments(folder):
        position = positions.get(segment.session, Position(segment, 0))
        if segment >= position.segment:
            offset = position.offset if segment == position.segment else 0
            count += sum(_VERDICT in line[:40] for line, _ in read_lines(folder, segment, offset))
    return count


def finished_segments(folder: Path, session: str, store: Store) -> list[Segment]:
    """The segments that nobody needs any more. Raises LineError, OSError.

    The newest two stay for `session`, the current one, and for sessions in which a part still
    waits for its verdict: decision begins from them when it returns.
    """
    finished: list[Segment] = []
    for name, group in _by_session(folder, session):
        position = store.position(name) or Position(group[0], 0)
        needed = group[-2:] if name == session or store.waiting(name) else []
        finished += [
            segment
            for segment in group
            if segment not in needed and _is_read(folder, segment, position)
        ]
    return finished


def _by_session(folder: Path, current: str) -> list[tuple[str, list[Segment]]]:
    found = groupby(segments(folder), key=lambda segment: segment.session)
    sessions = [(name, list(group)) for name, group in found]
    return sorted(sessions, key=lambda item: item[0] == current)


def _is_read(folder: Path, segment: Segment, position: Position) -> bool:
    if segment < position.segment:
        return True
    offset = position.offset if segment == position.segment else 0
    return next(read_lines(folder, segment, offset), None) is None


def _read(folder: Path, position: Position, limit: int) -> Chunk | None:
    restarted = not _ends_a_line(folder, position)
    offset = 0 if restarted else position.offset
    count = 0
    records, announced, published, damaged = [], [], [], []
    for line, behind in islice(read_lines(folder, position.segment, offset), limit):
        offset, count = behind, count + 1
        try:
            entry = decode(line, _decoder)
        except LineError as error:
            damaged.append(f"{position.segment.file_name} before byte {behind}: {error}")
            continue
        if isinstance(entry, VerdictRecord):
            records.append(entry)
        elif isinstance(entry, AnnouncedNote):
            announced.append(entry.part)
        elif isinstance(entry, PublishedNote):
            published.append(entry)
    if not offset or offset == position.offset:
        return None
    return Chunk(
        tuple(records),
        tuple(announced),
        tuple(published),
        tuple(damaged),
        Position(position.segment, offset),
        restarted,
        count == limit,
    )


def _ends_a_line(folder: Path, position: Position) -> bool:
    """Whether a line ends where reading stopped; False where the file was cut shorter since."""
    if position.offset == 0:
        return True
    try:
        with (folder / position.segment.file_name).open("rb") as file:
            return os.pread(file.fileno(), 1, position.offset - 1) == b"\n"
    except FileNotFoundError:
        return True
