"""The line's own account: its ledger's journal, kept even where the line deletes it."""

from __future__ import annotations

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

    def decided_s(self, sequence: int) -> float | None:
        """When a part was decided, on the monotonic clock; None where its capture is not known."""
        note, records = self.announced.get(sequence), self.records.get(sequence)
        if note is None or not records or records[0].latency_ms is None:
            return None
        return note.captured_monotonic_ns / 1e9 + records[0].latency_ms / 1e3


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
                account.announced.setdefault(line.part.sequence, line)
                account.last = max(account.last, line.part.sequence)
            case VerdictRecord():
                account.records[line.part.sequence].append(line)
                account.last = max(account.last, line.part.sequence)
            case PublishedNote():
                for first, last in line.delivered:
                    account.delivered.add(first, last)
                for first, last in line.undelivered:
                    account.undelivered.add(first, last)
