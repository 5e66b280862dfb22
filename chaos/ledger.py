"""The line's own account: its ledger's journal, kept even where the line deletes it."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pipeline.journal import Segment, decode, read_lines, segments
from pipeline.messages import AnnouncedNote, LedgerLine, PublishedNote, VerdictRecord
from pipeline.sequences import Sequences


@dataclass
class Account:
    """One session of the line: what it announced, what it decided, what the broker confirmed."""

    announced: dict[int, AnnouncedNote] = field(default_factory=dict)
    records: defaultdict[int, list[VerdictRecord]] = field(
        default_factory=lambda: defaultdict(list)
    )
    delivered: Sequences = field(default_factory=Sequences)
    undelivered: Sequences = field(default_factory=Sequences)

    last: int = 0
    """The highest number that the ledger knows."""
    ambiguous: set[int] = field(default_factory=set)
    """Numbers that were announced again, for another capture."""
    wall_ahead_s: float = field(default_factory=lambda: time.time() - time.monotonic())
    """What the wall clock shows more than the monotonic one."""

    def captured_s(self, sequence: int) -> float:
        """When a part was captured, on the monotonic clock; NaN where that is not known."""
        note = self.announced.get(sequence)
        return math.nan if note is None else note.captured_monotonic_ns / 1e9

    def captured_about_s(self, sequence: int) -> float | None:
        """When a part was captured; one without announcement goes by the next that has one. None
        where none has.
        """
        later = (self.announced.get(number) for number in range(sequence, self.last + 1))
        note = next((found for found in later if found is not None), None)
        return None if note is None else note.captured_monotonic_ns / 1e9

    def decided_s(self, sequence: int) -> float:
        """When a part was decided, on the monotonic clock; by the line's wall clock where its
        capture is not known. NaN where it has no verdict.
        """
        records = self.records.get(sequence)
        if not records:
            return math.nan
        if records[0].latency_ms is None or sequence not in self.announced:
            return records[0].decided_wall_ns / 1e9 - self.wall_ahead_s
        return self.captured_s(sequence) + records[0].latency_ms / 1e3

    def deadline_s(self, sequence: int) -> float:
        """When a part is at the gate, on the monotonic clock; infinite where nobody knows."""
        note = self.announced.get(sequence)
        return math.inf if note is None else note.deadline_monotonic_ns / 1e9


class KeptJournal:
    """Links the journal's files into a folder of its own, and reads on in them."""

    def __init__(self, ledger: Path, kept: Path) -> None:
        self._ledger, self._kept = ledger, kept
        self._kept.mkdir(parents=True)
        self._offsets: dict[Segment, int] = {}
        self._decoder: msgspec.json.Decoder[LedgerLine] = msgspec.json.Decoder(LedgerLine)
        self.read_s = time.monotonic()
        """When it was read last: what came later is not in the accounts."""
        self.accounts: dict[str, Account] = {}

    def read_on(self) -> None:
        """Take in what has been written since the last call."""
        self.read_s = time.monotonic()
        for segment in segments(self._ledger):
            if not (self._kept / segment.file_name).exists():
                (self._kept / segment.file_name).hardlink_to(self._ledger / segment.file_name)
        for segment in segments(self._kept):
            account = self.accounts.setdefault(segment.session, Account())
            lines = read_lines(self._kept, segment, self._offsets.get(segment, 0))
            for line, offset in lines:
                self._offsets[segment] = offset
                self._note(account, decode(line, self._decoder))

    @staticmethod
    def _note(account: Account, line: LedgerLine) -> None:
        match line:
            case AnnouncedNote():
                if account.announced.setdefault(line.part.sequence, line) != line:
                    account.ambiguous.add(line.part.sequence)
                account.last = max(account.last, line.part.sequence)
            case VerdictRecord():
                account.records[line.part.sequence].append(line)
                account.last = max(account.last, line.part.sequence)
            case PublishedNote():
                for first, last in line.delivered:
                    account.delivered.add(first, last)
                for first, last in line.undelivered:
                    account.undelivered.add(first, last)
