from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pipeline.errors import InputError, LineError
from pipeline.journal import Segment
from pipeline.messages import (
    Defect,
    Delivery,
    Part,
    PublishedNote,
    Reason,
    Stamp,
    Truth,
    Verdict,
)
from reject_log.rows import ADDED, to_row
from reject_log.store import Position, ReadStore, Store

SESSION = "20261122-071502-3f9a"
DECIDED_NS = 1_795_331_702 * 1_000_000_000

VERSION_1 = """
CREATE TABLE parts (
    line INTEGER NOT NULL,
    session TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    text TEXT NOT NULL,
    score REAL,
    threshold REAL NOT NULL,
    bundle_id TEXT NOT NULL,
    calibration_id TEXT NOT NULL,
    captured_wall_ns INTEGER,
    decided_wall_ns INTEGER NOT NULL,
    deadline_wall_ns INTEGER,
    late INTEGER NOT NULL,
    latency_ms REAL,
    simulated INTEGER NOT NULL,
    source TEXT NOT NULL,
    truth TEXT,
    defects TEXT NOT NULL,
    stamps TEXT NOT NULL,
    has_images INTEGER NOT NULL,
    PRIMARY KEY (session, sequence)
);
CREATE INDEX parts_by_time ON parts (decided_wall_ns, verdict);
CREATE INDEX parts_by_verdict ON parts (verdict, decided_wall_ns);
CREATE TABLE waiting (
    session TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (session, sequence)
) WITHOUT ROWID;
CREATE TABLE journal (
    session TEXT PRIMARY KEY,
    segment INTEGER NOT NULL,
    offset INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
"""
"""A log as the first release made it."""

READ_WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
from reject_log.store import ReadStore
if os.geteuid() == 0:
    os.setuid(65534)
print(ReadStore(Path(sys.argv[1])).list()[0].part.part_id)
"""


def at(offset: int, number: int = 1) -> Position:
    return Position(Segment(SESSION, number), offset)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "reject_log.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


def test_a_record_comes_back_field_for_field(path, store, make_record):
    full = make_record(
        1,
        verdict=Verdict.REJECT,
        reason=Reason.ABOVE_THRESHOLD,
        text="ü",
        score=0.7123456789012345,
        late=True,
        truth=Truth(True, "scratch"),
        defects=(Defect(1, 2, 3, 4, 5, 0.9),),
        stamps=(Stamp("preprocessing", 10, 20), Stamp("segmentation", 30, 40)),
        has_images=True,
        recipe="cap_b",
        batch="B-2026-117",
        encoder_position=412.04,
        reject_position=812.04,
        delivery=Delivery.UNDELIVERED,
    )
    bare = make_record(2, score=None, latency_ms=None, captured_wall_ns=None, deadline_wall_ns=None)
    assert store.record([full, bare], at(100)) == 0
    with ReadStore(path) as reader:
        assert reader.list() == (full, bare)
        assert reader.find(full.part.part_id) == full


def test_a_part_is_kept_once_as_it_came_first(path, store, make_record):
    store.record([make_record(1, text="first")], at(10))
    store.record([make_record(1, text="second"), make_record(2)], at(20))
    with ReadStore(path) as reader:
        assert [record.text for record in reader.list()] == ["first", ""]


def test_position_survives_and_belongs_to_its_session(path, store, make_record):
    store.record([make_record(1)], at(10))
    store.record([], at(33, number=2))
    store.close()
    again = Store(path)
    assert again.position(SESSION) == at(33, number=2)
    assert again.position("20261123-000000-0000") is None
    again.close()


def test_waiting_parts_are_those_without_a_verdict(store, make_record):
    store.record([make_record(2)], at(10), [Part(3, SESSION, n) for n in (1, 2, 3)])
    assert store.waiting(SESSION) == 2
    store.record([make_record(1)], at(20), [Part(3, SESSION, 2)])
    assert store.waiting(SESSION) == 1
    assert store.waiting("another") == 0


def test_full_database_keeps_neither_rows_nor_position(path, store, make_record):
    store.record([make_record(1)], at(10))
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages + 2}")
    many = [make_record(n, text="x" * 500) for n in range(2, 500)]
    with pytest.raises(LineError, match="free space"):
        store.record(many, at(9999))
    assert store.position(SESSION) == at(10)
    store._database.execute("PRAGMA max_page_count = 100000")
    store.record(many, at(9999))
    with ReadStore(path) as reader:
        assert len(reader.list()) == 499


def test_locked_database_says_so(path, store, make_record):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LineError, match="another program holds the database"):
        store.record([make_record(1)], at(10))
    other.execute("ROLLBACK")
    other.close()
    store.record([make_record(1)], at(10))


def test_read_only_database_says_so(store, make_record):
    store._database.execute("PRAGMA query_only = ON")
    with pytest.raises(LineError, match="may write there"):
        store.record([make_record(1)], at(10))


def test_a_folder_in_place_of_the_file(path):
    path.mkdir(parents=True)
    with pytest.raises(LineError, match=r"; (check|the disk failed)"):
        Store(path)
    with pytest.raises(LineError, match=r"; (check|the disk failed)"):
        ReadStore(path)


def test_a_file_in_place_of_the_data_folder(path):
    path.parent.write_text("")
    with pytest.raises(LineError, match="check that the data folder exists"):
        Store(path)


def test_a_file_that_is_no_database(path):
    path.parent.mkdir()
    path.write_bytes(b"no database at all " * 500)
    with pytest.raises(LineError, match="to another folder"):
        Store(path)
    with pytest.raises(LineError, match="to another folder"):
        ReadStore(path)


def test_damaged_pages_are_an_error_with_advice(path, store, make_record):
    store.record([make_record(n, text="x" * 200) for n in range(1, 400)], at(10))
    store.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    with ReadStore(path) as reader, pytest.raises(LineError, match="to another folder"):
        reader.list()


def test_damaged_value_is_an_error_with_advice(path, store, make_record):
    store.record([make_record(1)], at(10))
    store._database.execute("UPDATE parts SET stamps = '[{'")
    with ReadStore(path) as reader, pytest.raises(LineError, match="a row is damaged"):
        reader.list()


def test_newer_version_is_refused_by_writer_and_reader(path, store):
    store._database.execute("PRAGMA user_version = 3")
    store.close()
    with pytest.raises(LineError, match=r"version 3.*newer release"):
        Store(path)
    with pytest.raises(LineError, match=r"version 3.*newer release"):
        ReadStore(path)


def test_a_log_of_version_1_is_read_and_goes_on_as_version_2(path, make_record):
    before, after = make_record(1, recipe="", text="of long ago"), make_record(2, recipe="cap_b")
    path.parent.mkdir()
    old = sqlite3.connect(path)
    old.executescript(VERSION_1)
    row = to_row(before)[: -len(ADDED)]
    old.execute(f"INSERT INTO parts VALUES ({', '.join('?' * len(row))})", row)
    old.execute("INSERT INTO journal VALUES (?, 1, 10)", (SESSION,))
    old.commit()
    old.close()

    with ReadStore(path) as reader:
        assert reader.list() == (before,), "a log whose line has not been started since"
        assert reader.find(before.part.part_id) == before

    store = Store(path)
    assert store.position(SESSION) == at(10)
    store.record([after], at(20), published=[PublishedNote(((1, 2),))])
    store.close()
    Store(path).close()
    with ReadStore(path) as reader:
        assert reader.list() == tuple(
            msgspec.structs.replace(record, delivery=Delivery.DELIVERED)
            for record in (before, after)
        )


def test_what_the_broker_said_of_a_verdict_is_noted(path, store, make_record):
    store.record([make_record(n) for n in range(1, 8)], at(10))
    store.record([make_record(1, session="another")], Position(Segment("another", 1), 1))
    store.record([], at(20), published=[PublishedNote(((1, 2),), ((4, 6),))])
    store.record([], at(30), published=[PublishedNote(((5, 5),)), PublishedNote((), ((1, 1),))])
    store.record([], at(40), published=[PublishedNote(((2**70, 2**70 + 1),))])
    with ReadStore(path) as reader:
        said = {r.part.sequence: r.delivery for r in reader.each() if r.part.session == SESSION}
        other = reader.find(f"L3-another-{1:06d}")
    delivered, undelivered = Delivery.DELIVERED, Delivery.UNDELIVERED
    assert said == {
        1: delivered,
        2: delivered,
        3: None,
        4: undelivered,
        5: delivered,
        6: undelivered,
        7: None,
    }
    assert other is not None
    assert other.delivery is None


def test_a_removed_or_replaced_file_is_noticed(path, store, make_record):
    path.unlink()
    with pytest.raises(LineError, match="No such file"):
        store.record([make_record(1)], at(10))
    Store(path.with_name("another.sqlite")).close()
    path.with_name("another.sqlite").rename(path)
    with pytest.raises(LineError, match="was replaced"):
        store.record([make_record(1)], at(10))


def test_impossible_numbers_are_left_out(path, store, make_record):
    wild = make_record(2, decided_wall_ns=2**80)
    assert store.record([make_record(1), wild, make_record(2**70), make_record(3)], at(10)) == 2
    with ReadStore(path) as reader:
        assert [record.part.sequence for record in reader.list()] == [1, 3]


def test_no_log_yet(path):
    with pytest.raises(InputError, match="no reject log yet"):
        ReadStore(path)
    path.parent.mkdir()
    path.touch()
    with pytest.raises(InputError, match="has not written to it yet"):
        ReadStore(path)


def test_reader_cannot_write(path, store):
    with ReadStore(path) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._database.execute("DELETE FROM parts")


def test_reader_does_not_hold_up_the_writer(path, store, make_record):
    store.record([make_record(n) for n in range(1, 50)], at(10))
    with ReadStore(path) as reader:
        halfway = reader.each()
        assert next(halfway).part.sequence == 1
        store.record([make_record(50)], at(20))
        assert len(list(halfway)) == 48
    assert store.durable()


def test_listing_filters_by_time_verdict_reason_and_number(path, store, make_record):
    outcomes = {
        1: (Verdict.PASS, Reason.BELOW_THRESHOLD),
        2: (Verdict.REJECT, Reason.ABOVE_THRESHOLD),
        3: (Verdict.UNINSPECTED, Reason.DEADLINE),
        4: (Verdict.UNINSPECTED, Reason.FRAME_BLACK),
    }
    records = [make_record(n, verdict=v, reason=r) for n, (v, r) in outcomes.items()]
    store.record(records[::-1], at(10))

    with ReadStore(path) as reader:

        def listed(**wanted):
            return [record.part.sequence for record in reader.list(**wanted)]

        assert listed() == [1, 2, 3, 4]
        assert listed(since_wall_ns=DECIDED_NS + 3000) == [3, 4]
        assert listed(verdicts=(Verdict.REJECT, Verdict.PASS)) == [1, 2]
        assert listed(reason=Reason.DEADLINE) == [3]
        assert listed(limit=2) == [3, 4]
        assert reader.counts() == {Verdict.PASS: 1, Verdict.REJECT: 1, Verdict.UNINSPECTED: 2}
        assert reader.counts(DECIDED_NS + 3000)[Verdict.PASS] == 0


@pytest.mark.parametrize(
    "part_id",
    [f"L4-{SESSION}-000001", f"L3-{SESSION}-000002", f"L3-{SESSION}-1", "000001", "", "L3--", "²"],
)
def test_an_unknown_part_is_not_found(path, store, make_record, part_id):
    store.record([make_record(1)], at(10))
    with ReadStore(path) as reader:
        assert reader.find(part_id) is None


def test_a_user_who_may_only_read_sees_the_log_of_a_stopped_line(make_record):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reject_log.sqlite"
        store = Store(path)
        store.record([make_record(1)], at(10))
        store.close()
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        answer = subprocess.run(
            [sys.executable, "-c", READ_WITHOUT_RIGHTS, str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        Path(folder).chmod(0o755)
    assert answer.stdout == f"L3-{SESSION}-000001\n", answer.stderr
