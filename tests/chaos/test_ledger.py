"""The line's account is read on as it grows, and says when each part was captured and decided."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from chaos.ledger import Account, KeptJournal
from chaos_parts import SESSION, WALL_NS, announced, record
from pipeline.journal import JournalWriter, segments
from pipeline.messages import PublishedNote


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def test_what_the_line_deletes_stays_in_the_account(ledger: Path, tmp_path: Path) -> None:
    journal, writer = KeptJournal(ledger, tmp_path / "kept"), JournalWriter(ledger, SESSION)
    writer.append(announced(1, 10.0), announced(2, 11.0))
    journal.read_on()
    (ledger / segments(ledger)[0].file_name).unlink()
    writer.append(record(2), PublishedNote(((2, 2),), ((1, 1),)))
    writer.close()

    journal.read_on()

    account = journal.accounts[SESSION]
    assert account.last == 2
    assert account.records[2] == [record(2)]
    assert 2 in account.delivered
    assert 1 in account.undelivered
    assert not account.ambiguous


def test_a_number_with_another_capture_is_ambiguous(ledger: Path, tmp_path: Path) -> None:
    journal, writer = KeptJournal(ledger, tmp_path / "kept"), JournalWriter(ledger, SESSION)
    writer.append(announced(1, 10.0), announced(2, 11.0), announced(1, 10.0), announced(2, 11.5))
    writer.close()

    journal.read_on()

    assert journal.accounts[SESSION].ambiguous == {2}


def test_moments_of_a_part() -> None:
    account = Account(announced={2: announced(2, 11.0)}, last=2, wall_ahead_s=WALL_NS / 1e9 - 11)
    account.records[2].append(record(2))
    account.records[1].append(record(1, latency_ms=None))

    assert (account.captured_s(2), account.decided_s(2), account.deadline_s(2)) == pytest.approx(
        (11, 11.2, 13)
    )
    assert account.captured_about_s(1) == 11
    assert account.decided_s(1) == pytest.approx(11.2, abs=1e-3)
    assert math.isnan(account.captured_s(1))
    assert math.isnan(account.decided_s(3))
    assert account.captured_about_s(3) is None
    assert math.isinf(account.deadline_s(1))
