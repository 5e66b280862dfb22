"""The ledger on disk: kills, torn lines, segments, old sessions, and a disk that fails."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from full_disk import full_disk
from pipeline.journal import JournalWriter, Segment, segments
from pipeline.messages import LedgerLine, Reason, Truth, Verdict, VerdictRecord
from stages.decision import ledger_journal
from stages.decision.ledger import Ledger
from stages.decision.ledger_journal import (
    RETRY_NS,
    LedgerJournal,
    close_old_sessions,
    segments_with_lines,
    stored_lines,
)

LOG = logging.getLogger("decision")
JUDGE_FOR_EVER = """
import logging, sys
from pathlib import Path
from pipeline.messages import Announcement, Failure, Part, Reason
from stages.decision import ledger_journal
from stages.decision.ledger import Ledger, Now
from stages.decision.rule import DecisionRule
import numpy as np

ledger_journal.LINES_PER_SEGMENT = 50
folder, session = Path(sys.argv[1]), sys.argv[2]
ledger = Ledger(3, session, DecisionRule(0.5, "bundle", "calibration"), 20_000_000, True)
journal = ledger_journal.LedgerJournal(folder, session, ledger, logging.getLogger("x"))
sequence = 0
while True:
    sequence += 1
    now = Now(sequence * 1_000_000, 1_795_331_702_000_000_000 + sequence * 1_000_000)
    part = Part(3, session, sequence)
    deadline_ns = now.monotonic_ns + 500_000_000
    announcement = Announcement(part, now.monotonic_ns, now.wall_ns, deadline_ns, "frame")
    note, records = ledger.announce(announcement, now)
    journal.write([note, *records])
    if sequence > 3:
        late = Part(3, session, sequence - 3)
        view = np.zeros((0, 0, 1), np.uint8)
        journal.write(ledger.settle(Failure(late, Reason.FRAME_BLACK, "", "x", view), now))
    if sequence == 200:
        print("judging", flush=True)
"""


class Desk:
    """Decision's ledger with its journal, as one process has them."""

    def __init__(self, shop: Any, folder: Path) -> None:
        self.ledger: Ledger = shop.ledger()
        self.restored = list(self.ledger.replay(stored_lines(folder, shop.session, LOG)))
        self.journal = LedgerJournal(folder, shop.session, self.ledger, LOG)
        self._shop = shop

    def announce(self, *sequences: int, truth: Truth | None = None) -> None:
        for sequence in sequences:
            note, records = self.ledger.announce(
                self._shop.announcement(sequence, 10.0 * sequence, truth),
                self._shop.now(10.0 * sequence),
            )
            self.record([*([note] if note else []), *records])

    def judge(self, *sequences: int) -> None:
        for sequence in sequences:
            moment = self._shop.now(10.0 * sequence + 100)
            result = self._shop.result(sequence, 0.1, at_ms=10.0 * sequence)
            self.record(self.ledger.settle(result, moment))

    def record(self, lines: list[Any]) -> None:
        """As the stage does it."""
        written = self.journal.write(lines)
        rest = [
            self.ledger.withhold(line) if isinstance(line, VerdictRecord) else line
            for line in lines[written:]
        ]
        self.journal.keep(rest)


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_journal, "LINES_PER_SEGMENT", 7)


def verdicts(folder: Path, session: str) -> list[VerdictRecord]:
    """Every verdict in all segments of a session."""
    lines = [line for part in segments(folder, session) for line in read_segment(folder, part)]
    return [line for line in lines if isinstance(line, VerdictRecord)]


def read_segment(folder: Path, segment: Segment) -> list[LedgerLine]:
    decoder = msgspec.json.Decoder(LedgerLine)
    text = (folder / segment.file_name).read_bytes()
    return [decoder.decode(line) for line in text.splitlines()]


def test_a_new_process_goes_on_where_the_old_one_was_killed(shop: Any, tmp_path: Path) -> None:
    first = Desk(shop, tmp_path)
    first.announce(1, 2, 3, 4)
    first.judge(2, 3)
    second = Desk(shop, tmp_path)
    assert [record.part.sequence for record in second.restored] == [2, 3]
    is_open = [second.ledger.is_open(sequence) for sequence in range(1, 5)]
    assert is_open == [True, False, False, True]
    assert second.ledger.statistics() == first.ledger.statistics()
    second.judge(1, 2, 4)
    given = Counter(record.part.sequence for record in verdicts(tmp_path, shop.session))
    assert given == {1: 1, 2: 1, 3: 1, 4: 1}


def test_a_process_killed_with_9_leaves_a_journal_to_go_on_with(shop: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-c", JUDGE_FOR_EVER, str(tmp_path), shop.session]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"judging\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    desk = Desk(shop, tmp_path)
    last = desk.ledger.announced_until
    assert last >= 200
    open_parts = [number for number in range(1, last + 1) if desk.ledger.is_open(number)]
    assert 2 <= len(open_parts) <= 4
    desk.journal.write(desk.ledger.close_all(shop.now(10**6)))
    given = Counter(record.part.sequence for record in verdicts(tmp_path, shop.session))
    assert given == dict.fromkeys(range(1, last + 1), 1)
    totals = desk.ledger.statistics()
    assert totals.reasons == {
        Reason.FRAME_BLACK: last - len(open_parts),
        Reason.LINE_STOPPED: len(open_parts),
    }


@pytest.mark.usefixtures("small_segments")
def test_totals_and_open_parts_go_over_to_the_next_segment(shop: Any, tmp_path: Path) -> None:
    desk = Desk(shop, tmp_path)
    desk.announce(*range(1, 31), truth=Truth(False))
    desk.judge(*range(2, 31))
    assert len(segments(tmp_path, shop.session)) >= 6
    (newest,) = segments_with_lines(tmp_path, shop.session)
    assert newest == segments(tmp_path, shop.session)[-1]
    second = Desk(shop, tmp_path)
    assert second.ledger.statistics() == desk.ledger.statistics()
    assert second.ledger.statistics().verdicts[Verdict.PASS] == 29
    assert second.ledger.is_open(1)
    assert second.ledger.settled_until == 0
    second.judge(1)
    assert second.ledger.settled_until == 30


@pytest.mark.usefixtures("small_segments")
def test_a_segment_without_snapshot_is_read_with_the_one_before(shop: Any, tmp_path: Path) -> None:
    desk = Desk(shop, tmp_path)
    desk.announce(1, 2)
    newest = segments(tmp_path, shop.session)[-1]
    (tmp_path / Segment(shop.session, newest.number + 1).file_name).write_bytes(b'{"schema":"ses')
    second = Desk(shop, tmp_path)
    assert second.ledger.announced_until == 2
    second.judge(1)
    third = Desk(shop, tmp_path)
    assert [third.ledger.is_open(sequence) for sequence in (1, 2)] == [False, True]


def test_a_damaged_line_is_logged_and_costs_only_itself(
    shop: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(shop, tmp_path)
    desk.announce(1, 2)
    file = tmp_path / segments(tmp_path)[0].file_name
    snapshot, first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(snapshot + b'{"schema":"announced/1","part":"\xff\xfe"}\n' + first + second)
    again = Desk(shop, tmp_path)
    assert [again.ledger.is_open(sequence) for sequence in (1, 2)] == [True, True]
    assert "damaged line" in caplog.text


def test_sessions_of_killed_lines_are_closed_in_their_own_journals(
    shop: Any, tmp_path: Path
) -> None:
    old = "20261121-000000-aaaa"
    for session in (old, shop.session):
        ledger = shop.ledger(session)
        journal = LedgerJournal(tmp_path, session, ledger, LOG)
        for sequence in (1, 2):
            announcement = shop.announcement(sequence, session=session)
            note, _ = ledger.announce(announcement, shop.now(0))
            journal.write([note])
        journal.close()
    closed = close_old_sessions(tmp_path, shop.session, shop.ledger, shop.now(9999), LOG)
    assert [record.part for record in closed] == [shop.part(1, old), shop.part(2, old)]
    assert {record.reason for record in closed} == {Reason.LINE_STOPPED}
    assert all(record.late for record in closed)
    assert verdicts(tmp_path, old) == closed
    assert verdicts(tmp_path, shop.session) == []
    assert close_old_sessions(tmp_path, shop.session, shop.ledger, shop.now(9999), LOG) == []


def test_a_finished_session_is_left_as_it_is(shop: Any, tmp_path: Path) -> None:
    desk = Desk(shop, tmp_path)
    desk.announce(1)
    desk.judge(1)
    desk.journal.close()
    file = tmp_path / segments(tmp_path)[0].file_name
    before = file.read_bytes()
    assert close_old_sessions(tmp_path, "another", shop.ledger, shop.now(9999), LOG) == []
    assert file.read_bytes() == before


def test_what_a_full_disk_does_not_take_is_written_later(
    shop: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(shop, tmp_path)
    desk.announce(1, 2, 3)
    with full_disk((tmp_path / segments(tmp_path)[0].file_name).stat().st_size):
        desk.judge(1, 2)
        desk.journal.mend(1)
        assert desk.journal.waiting == 2
        assert "(File too large): parts are UNINSPECTED until it can" in desk.journal.fault
    assert caplog.text.count("cannot be written") == 1
    desk.judge(3)
    assert desk.journal.waiting == 3, "nothing overtakes what waits"
    desk.journal.mend(RETRY_NS)
    assert desk.journal.waiting == 3, "not before its time"
    desk.journal.mend(1 + RETRY_NS)
    assert (desk.journal.waiting, desk.journal.fault, desk.journal.lost) == (0, "", 0)
    given = [(record.part.sequence, record.reason) for record in verdicts(tmp_path, shop.session)]
    assert given == [(n, Reason.NOT_RECORDED) for n in (1, 2, 3)]
    again = Desk(shop, tmp_path)
    assert again.ledger.statistics() == desk.ledger.statistics()
    assert again.ledger.statistics().reasons == {Reason.NOT_RECORDED: 3}
    assert again.ledger.settled_until == 3


def test_a_disk_that_takes_only_some_lines_says_which(shop: Any, tmp_path: Path) -> None:
    desk = Desk(shop, tmp_path)
    file = tmp_path / segments(tmp_path)[0].file_name
    desk.announce(1)
    size = file.stat().st_size
    desk.announce(2)
    line = file.stat().st_size - size
    notes = [desk.ledger.announce(shop.announcement(n), shop.now(30))[0] for n in (3, 4)]
    with full_disk(file.stat().st_size + line + 5):
        assert desk.journal.write(notes) == 1
        desk.journal.keep(notes[1:])
        assert desk.journal.write(notes) == 0, "while it fails, nothing is tried"
    desk.journal.mend(RETRY_NS)
    again = Desk(shop, tmp_path)
    assert [again.ledger.is_open(n) for n in range(1, 6)] == [True] * 4 + [False]


def test_lines_beyond_all_memory_are_lost_but_not_the_count(
    shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_journal, "MOST_KEPT", 4)
    desk = Desk(shop, tmp_path)
    with full_disk(1):
        desk.announce(*range(1, 6))
        desk.judge(*range(1, 6))
    assert (desk.journal.waiting, desk.journal.lost, desk.journal.lost_verdicts) == (4, 6, 5)
    desk.journal.mend(RETRY_NS)
    assert desk.journal.fault == ""
    again = Desk(shop, tmp_path)
    assert again.ledger.settled_until == 5
    assert again.ledger.statistics().reasons == {Reason.NOT_RECORDED: 5}


def test_a_ledger_that_cannot_be_opened_waits_for_its_folder(shop: Any, tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    folder.write_text("in the way")
    desk = Desk(shop, folder)
    desk.announce(1)
    desk.judge(1)
    assert desk.journal.fault.startswith(f"the ledger in {folder} cannot be written")
    folder.unlink()
    desk.journal.mend(RETRY_NS)
    assert desk.journal.fault == ""
    assert [record.reason for record in verdicts(folder, shop.session)] == [Reason.NOT_RECORDED]
    assert Desk(shop, folder).ledger.settled_until == 1


def test_what_waits_at_the_end_is_written_or_said_to_be_lost(
    shop: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(shop, tmp_path)
    with full_disk(1):
        desk.announce(1, 2)
    desk.journal.close()
    assert Desk(shop, tmp_path).ledger.announced_until == 2
    other = Desk(shop, tmp_path)
    with full_disk(1):
        other.announce(3, 4, 5)
        other.journal.close()
    assert "3 lines could not be written and are lost" in caplog.text
    assert (other.journal.waiting, other.journal.lost, other.journal.lost_verdicts) == (0, 3, 0)


def test_old_sessions_on_a_full_disk_are_closed_by_a_later_start(
    shop: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(shop, tmp_path)
    desk.announce(1)
    desk.journal.close()
    with full_disk(1):
        assert close_old_sessions(tmp_path, "next", shop.ledger, shop.now(9999), LOG) == []
    assert "could not be closed" in caplog.text
    closed = close_old_sessions(tmp_path, "next", shop.ledger, shop.now(9999), LOG)
    assert [record.reason for record in closed] == [Reason.LINE_STOPPED]


@pytest.mark.usefixtures("small_segments")
def test_a_segment_that_cannot_be_begun_leaves_the_old_one_in_use(
    shop: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(shop, tmp_path)
    (tmp_path / Segment(shop.session, 2).file_name).mkdir()
    desk.announce(*range(1, 11))
    assert desk.journal.lost == 0
    assert len(read_segment(tmp_path, Segment(shop.session, 1))) == 11
    assert "no new segment could be begun" in caplog.text


def test_a_journal_begins_with_a_snapshot_and_only_once(shop: Any, tmp_path: Path) -> None:
    for _ in range(3):
        Desk(shop, tmp_path).journal.close()
    writer = JournalWriter(tmp_path, shop.session)
    writer.close()
    lines = read_segment(tmp_path, Segment(shop.session, 1))
    assert [type(line).__name__ for line in lines] == ["SessionNote"]
