"""The line's account is read on as it grows, and says when each part was captured and decided."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from chaos.ledger import Account, KeptJournal
from pipeline.journal import JournalWriter, segments
from pipeline.messages import AnnouncedNote, Part, PublishedNote, Reason, Verdict, VerdictRecord

SESSION = "20261122-071502-3f9a"
WALL_NS = 1_790_000_000_000_000_000
DECIDED = VerdictRecord(
    part=Part(3, SESSION, 2),
    verdict=Verdict.PASS,
    reason=Reason.BELOW_THRESHOLD,
    text="",
    score=0.25,
    threshold=0.5,
    bundle_id="b-1",
    calibration_id="c-1",
    captured_wall_ns=WALL_NS,
    decided_wall_ns=WALL_NS + 250_000_000,
    deadline_wall_ns=WALL_NS + 2_000_000_000,
    late=False,
    latency_ms=250.0,
    simulated=True,
    source="",
    truth=None,
    defects=(),
    stamps=(),
)


def announced(sequence: int, captured_s: float) -> AnnouncedNote:
    captured_ns = int(captured_s * 1e9)
    return AnnouncedNote(
        Part(3, SESSION, sequence), captured_ns, WALL_NS, captured_ns + 2_000_000_000, "", None
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def test_what_the_line_deletes_stays_in_the_account(ledger: Path, tmp_path: Path) -> None:
    journal, writer = KeptJournal(ledger, tmp_path / "kept"), JournalWriter(ledger, SESSION)
    writer.append(announced(1, 10.0), announced(2, 11.0))
    journal.read_on()
    (ledger / segments(ledger)[0].file_name).unlink()
    writer.append(DECIDED, PublishedNote(((2, 2),), ((1, 1),)))
    writer.close()

    journal.read_on()

    account = journal.accounts[SESSION]
    assert account.last == 2
    assert account.records[2] == [DECIDED]
    assert 2 in account.delivered
    assert 1 in account.undelivered
    assert not account.ambiguous


def test_a_number_with_another_capture_is_ambiguous(ledger: Path, tmp_path: Path) -> None:
    journal, writer = KeptJournal(ledger, tmp_path / "kept"), JournalWriter(ledger, SESSION)
    writer.append(announced(1, 10.0), announced(2, 11.0), announced(1, 10.0), announced(2, 11.5))
    writer.close()

    journal.read_on()

    assert journal.accounts[SESSION].ambiguous == {2}


def test_moments_of_a_part(ledger: Path) -> None:
    account = Account(announced={2: announced(2, 11.0)}, last=2, wall_ahead_s=WALL_NS / 1e9 - 11)
    account.records[2].append(DECIDED)
    unannounced = msgspec.structs.replace(DECIDED, part=Part(3, SESSION, 1), latency_ms=None)
    account.records[1].append(unannounced)

    assert (account.captured_s(2), account.decided_s(2), account.deadline_s(2)) == (11, 11.25, 13)
    assert account.captured_about_s(1) == 11
    assert account.decided_s(1) == pytest.approx(11.25, abs=1e-3)
    assert math.isnan(account.captured_s(1))
    assert math.isnan(account.decided_s(3))
    assert account.captured_about_s(3) is None
    assert math.isinf(account.deadline_s(1))
