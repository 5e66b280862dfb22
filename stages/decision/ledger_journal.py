"""The ledger on disk: what was announced and decided survives a killed process.

A decision that is killed goes on where its journal ends; a line that was killed altogether gets
its open parts closed by the next start, as UNINSPECTED.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from pipeline.errors import LineError
from pipeline.journal import JournalWriter, Segment, decode, read_lines, segments
from pipeline.messages import LedgerLine, VerdictRecord
from stages.decision.ledger import Ledger, Now

LINES_PER_SEGMENT = 20_000


class LedgerJournal:
    """Writes a ledger's lines. A disk that fails costs the record of a verdict, never a verdict."""

    def __init__(self, folder: Path, session: str, ledger: Ledger, log: logging.Logger) -> None:
        self._ledger, self._log = ledger, log
        self._writer = JournalWriter(folder, session)
        self._lines = 0
        self.lost = 0
        if not segments_with_lines(folder, session):
            self.write(ledger.snapshot())

    def write(self, lines: Iterable[LedgerLine]) -> None:
        """Append lines; on a failing disk they are counted in `lost` and logged."""
        batch = list(lines)
        if not batch:
            return
        try:
            self._writer.append(*batch)
        except OSError as error:
            self.lost += len(batch)
            self._log.error("ledger: %d lines could not be written: %s", len(batch), error)
        self._lines += len(batch)
        if self._lines >= LINES_PER_SEGMENT:
            self._begin_segment()

    def _begin_segment(self) -> None:
        """Where that fails, the old segment grows on until the next one is due."""
        self._lines = 0
        try:
            self._writer.next_segment(*self._ledger.snapshot())
        except OSError as error:
            self._log.error("ledger: no new segment could be begun: %s", error)

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def segments_with_lines(folder: Path, session: str) -> list[Segment]:
    """The session's segments from the newest one that begins with a snapshot."""
    found = segments(folder, session)
    for index in range(len(found) - 1, -1, -1):
        first = next(read_lines(folder, found[index], 0), None)
        if first is not None and b'"session/1"' in first[0][:40]:
            return found[index:]
    return []


def stored_lines(folder: Path, session: str, log: logging.Logger) -> Iterator[LedgerLine]:
    """What is needed to go on with a session; damaged lines are logged and left out."""
    decoder: msgspec.json.Decoder[LedgerLine] = msgspec.json.Decoder(LedgerLine)
    for segment in segments_with_lines(folder, session):
        for line, _ in read_lines(folder, segment, 0):
            try:
                yield decode(line, decoder)
            except LineError as error:
                log.error("%s", error)


def close_old_sessions(
    folder: Path, current: str, new_ledger: Callable[[str], Ledger], now: Now, log: logging.Logger
) -> list[VerdictRecord]:
    """Close the parts that a killed line left open, in its own journal; the verdicts given."""
    closed: list[VerdictRecord] = []
    for session in sorted({segment.session for segment in segments(folder)} - {current}):
        ledger = new_ledger(session)
        for _ in ledger.replay(stored_lines(folder, session, log)):
            continue
        records = ledger.close_all(now)
        if records:
            writer = JournalWriter(folder, session)
            writer.append(*records)
            writer.close()
            log.warning("session %s: %d parts were left open, closed now", session, len(records))
        closed += records
    return closed
