"""The ledger on disk: what was announced and decided survives a killed process.

A decision that is killed goes on where its journal ends; a line that was killed altogether gets
its open parts closed by the next start, as UNINSPECTED.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from pipeline.errors import LineError
from pipeline.journal import (
    JournalWriter,
    NotWrittenError,
    Segment,
    decode,
    read_lines,
    segments,
)
from pipeline.messages import LedgerLine, VerdictRecord
from stages.decision.ledger import Ledger, Now

LINES_PER_SEGMENT = 20_000
LINES_PER_ATTEMPT = 500
"""Lines that are written at once after the disk has failed: some ten milliseconds of work."""
RETRY_NS = 200_000_000
MOST_KEPT = 50_000
"""Lines that wait in memory for the disk, some 50 MB; what comes beyond is lost."""


class LedgerJournal:
    """Writes a ledger's lines. What a failing disk does not take is kept, and written later.

    `fault`: a sentence while the disk fails, else empty. `lost`: lines that could not be kept, and
    `lost_verdicts` among them.
    """

    def __init__(self, folder: Path, session: str, ledger: Ledger, log: logging.Logger) -> None:
        self._folder, self._session = folder, session
        self._ledger, self._log = ledger, log
        self._writer: JournalWriter | None = None
        self._kept: deque[LedgerLine] = deque()
        self._retry_ns = 0
        self._lines = 0
        self._gap = False
        self.lost = self.lost_verdicts = 0
        self.fault = ""
        if not segments_with_lines(folder, session):
            self._kept.extend(ledger.snapshot())
        self._write_kept()

    @property
    def waiting(self) -> int:
        """Lines that wait for the disk."""
        return len(self._kept)

    def write(self, lines: Sequence[LedgerLine]) -> int:
        """Append lines; how many of them, from the first on, are written. The rest is to be kept.

        Nothing is tried while the disk fails: `mend` does that.
        """
        if self.fault or not lines:
            return 0
        try:
            self._append(lines)
        except NotWrittenError as error:
            self._complain(error)
            return error.recorded
        if self._lines >= LINES_PER_SEGMENT:
            self._begin_segment()
        return len(lines)

    def keep(self, lines: Sequence[LedgerLine]) -> None:
        """Write these when the disk takes them again."""
        room = max(0, MOST_KEPT - len(self._kept))
        self._kept.extend(lines[:room])
        if len(lines) > room:
            self._lose(lines[room:])
            self._gap = True

    def mend(self, now_monotonic_ns: int) -> None:
        """Try a failing disk again, a few times a second."""
        if self.fault and now_monotonic_ns >= self._retry_ns:
            progress = self._write_kept()
            self._retry_ns = now_monotonic_ns + (0 if progress else RETRY_NS)

    def close(self) -> None:
        """Write what waits, if the disk takes it now, and close the file."""
        while self.fault and self._write_kept():
            continue
        self._lose(self._kept)
        self._kept.clear()
        if self.lost:
            self._log.error("ledger: %d lines could not be written and are lost", self.lost)
        if self._writer is not None:
            self._writer.close()

    def _lose(self, lines: Collection[LedgerLine]) -> None:
        self.lost += len(lines)
        self.lost_verdicts += sum(isinstance(line, VerdictRecord) for line in lines)

    def _write_kept(self) -> bool:
        """Write some of what waits; whether the disk took it."""
        some = list(islice(self._kept, LINES_PER_ATTEMPT))
        try:
            self._append(some)
            written = len(some)
        except NotWrittenError as error:
            self._complain(error)
            written = error.recorded
        except OSError as error:
            self._complain(error)
            return False
        for _ in range(written):
            self._kept.popleft()
        if written < len(some):
            return False
        if not self._kept:
            self._go_on()
        return True

    def _go_on(self) -> None:
        """The disk has taken everything; where lines were lost, a snapshot stands for them."""
        if self.fault:
            self._log.warning("ledger: the disk takes what is written again")
        self.fault = ""
        if self._gap:
            self._gap = False
            self._begin_segment()

    def _append(self, lines: Sequence[LedgerLine]) -> None:
        self._writer = self._writer or JournalWriter(self._folder, self._session)
        self._writer.append(*lines)
        self._lines += len(lines)

    def _begin_segment(self) -> None:
        """Where that fails, the old segment grows on until the next one is due."""
        assert self._writer is not None
        self._lines = 0
        try:
            self._writer.next_segment(*self._ledger.snapshot())
        except OSError as error:
            self._log.error("ledger: no new segment could be begun: %s", error)

    def _complain(self, error: OSError) -> None:
        fault = (
            f"the ledger in {self._folder} cannot be written ({error.strerror}): parts are "
            "UNINSPECTED until it can; free space there or mend the disk"
        )
        if fault != self.fault:
            self._log.error("%s", fault)
        self.fault = fault


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
    """Close the parts that a killed line left open, in its own journal; the verdicts given.

    Where its disk fails, they stay open until the next start.
    """
    closed: list[VerdictRecord] = []
    for session in sorted({segment.session for segment in segments(folder)} - {current}):
        ledger = new_ledger(session)
        for _ in ledger.replay(stored_lines(folder, session, log)):
            continue
        records = ledger.close_all(now)
        if records and _close_journal(folder, session, records, log):
            log.warning("session %s: %d parts were left open, closed now", session, len(records))
            closed += records
    return closed


def _close_journal(
    folder: Path, session: str, records: Sequence[VerdictRecord], log: logging.Logger
) -> bool:
    try:
        writer = JournalWriter(folder, session)
        try:
            writer.append(*records)
        finally:
            writer.close()
    except OSError as error:
        log.error("session %s: its open parts could not be closed: %s", session, error)
        return False
    return True
