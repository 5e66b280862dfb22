from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.journal import JournalWriter, Segment, segments
from reject_log.follower import finished_segments, next_chunk
from reject_log.store import Store

SESSION = "20261122-071502-3f9a"
OLDER = "20261120-060000-aaaa"
OLDEST = "20261119-060000-ffff"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def store(tmp_path: Path):
    store = Store(tmp_path / "reject_log.sqlite")
    yield store
    store.close()


def follow(folder, store, limit=500, session=SESSION):
    """Read and record everything; the chunks in order."""
    found = []
    while (chunk := next_chunk(folder, session, store, limit)) is not None:
        store.record(chunk.records, chunk.position, chunk.announced)
        found.append(chunk)
    return found


def sequences(found):
    return [record.part.sequence for chunk in found for record in chunk.records]


def test_no_journal_has_no_lines(folder, store):
    assert follow(folder, store) == []
    folder.mkdir()
    assert follow(folder, store) == []


def test_lines_are_read_across_segments_in_order(folder, store, make_record, announce, note):
    writer = JournalWriter(folder, SESSION)
    writer.append(note(), announce(1), make_record(1))
    assert sequences(follow(folder, store)) == [1]
    writer.append(make_record(2))
    writer.next_segment(note())
    writer.append(make_record(3))
    writer.next_segment(note())
    writer.append(make_record(4), make_record(5))
    assert sequences(follow(folder, store)) == [2, 3, 4, 5]
    assert follow(folder, store) == []
    assert store.position(SESSION).segment.number == 3


def test_a_chunk_is_bounded_and_goes_on_where_it_ended(folder, store, make_record):
    JournalWriter(folder, SESSION).append(*(make_record(n) for n in range(1, 26)))
    found = follow(folder, store, limit=10)
    assert [len(chunk.records) for chunk in found] == [10, 10, 5]
    assert sequences(found) == list(range(1, 26))


def test_a_torn_last_line_waits_until_its_writer_returns(folder, store, make_record):
    writer = JournalWriter(folder, SESSION)
    writer.append(make_record(1), make_record(2))
    file = folder / segments(folder)[0].file_name
    os.truncate(file, file.stat().st_size - 40)
    assert sequences(follow(folder, store)) == [1]
    JournalWriter(folder, SESSION).append(make_record(3))
    assert sequences(follow(folder, store)) == [3]


@pytest.mark.parametrize(
    "damage",
    [b"", b"\0" * 300, b'{"schema":"verdict/1"', b'{"schema":"verdict/9"}', b'{"schema":"\xff"}'],
)
def test_a_damaged_line_is_left_out_and_told(folder, store, make_record, damage):
    writer = JournalWriter(folder, SESSION)
    writer.append(make_record(1))
    file = folder / segments(folder)[0].file_name
    with file.open("ab") as journal:
        journal.write(damage + b"\n")
    writer.append(make_record(2))
    (chunk,) = follow(folder, store)
    assert sequences([chunk]) == [1, 2]
    assert len(chunk.damaged) == 1
    assert file.name in chunk.damaged[0]


def test_sessions_left_over_come_first_oldest_first(folder, store, make_record):
    for session, sequence in ((SESSION, 1), (OLDER, 7), (OLDEST, 9)):
        JournalWriter(folder, session).append(make_record(sequence, session))
    assert sequences(follow(folder, store)) == [9, 7, 1]


def test_the_current_session_is_last_even_if_the_clock_went_back(folder, store, make_record):
    for session, sequence in ((SESSION, 1), (OLDER, 7)):
        JournalWriter(folder, session).append(make_record(sequence, session))
    assert sequences(follow(folder, store, session=OLDER)) == [1, 7]


def test_a_session_that_returns_later_is_read_on(folder, store, make_record):
    JournalWriter(folder, OLDER).append(make_record(1, OLDER))
    JournalWriter(folder, SESSION).append(make_record(2))
    follow(folder, store)
    JournalWriter(folder, OLDER).append(make_record(3, OLDER))
    assert sequences(follow(folder, store)) == [3]


def test_a_segment_cut_by_a_power_failure_is_read_again(folder, store, make_record):
    writer = JournalWriter(folder, SESSION)
    writer.append(make_record(1))
    file = folder / segments(folder)[0].file_name
    first_line = file.stat().st_size
    writer.append(make_record(2), make_record(3))
    follow(folder, store)
    os.truncate(file, first_line)
    JournalWriter(folder, SESSION).append(make_record(4, text="x" * 2000))
    (chunk,) = follow(folder, store)
    assert chunk.restarted
    assert sequences([chunk]) == [1, 4]


def test_deleted_segments_do_not_stop_the_reading(folder, store, make_record):
    writer = JournalWriter(folder, SESSION)
    writer.append(make_record(1))
    follow(folder, store)
    writer.next_segment(make_record(2))
    (folder / Segment(SESSION, 1).file_name).unlink()
    assert sequences(follow(folder, store)) == [2]


def test_two_segments_of_the_current_session_stay(folder, store, make_record, note):
    writer = JournalWriter(folder, SESSION)
    for n in range(1, 5):
        writer.append(make_record(n))
        writer.next_segment(note())
    assert finished_segments(folder, SESSION, store) == []
    follow(folder, store)
    finished = finished_segments(folder, SESSION, store)
    assert [segment.number for segment in finished] == [1, 2, 3]
    assert len(segments(folder)) == 5


def test_nothing_unread_is_finished(folder, store, make_record, note):
    writer = JournalWriter(folder, SESSION)
    for n in range(1, 5):
        writer.append(make_record(2 * n), make_record(2 * n + 1))
        writer.next_segment(note())
    JournalWriter(folder, OLDER).append(make_record(1, OLDER), make_record(2, OLDER))
    chunk = next_chunk(folder, SESSION, store, 1)
    store.record(chunk.records, chunk.position)
    assert finished_segments(folder, SESSION, store) == []
    for _ in range(2):
        chunk = next_chunk(folder, SESSION, store, 1)
        store.record(chunk.records, chunk.position)
    assert chunk.position.segment == Segment(SESSION, 1)
    assert finished_segments(folder, SESSION, store) == [Segment(OLDER, 1)]


def test_an_old_session_stays_until_its_last_part_has_a_verdict(
    folder, store, make_record, announce, note
):
    writer = JournalWriter(folder, OLDER)
    writer.append(note(OLDER), announce(1, OLDER), announce(2, OLDER), make_record(1, OLDER))
    JournalWriter(folder, SESSION).append(note())
    follow(folder, store)
    assert finished_segments(folder, SESSION, store) == []
    writer.append(make_record(2, OLDER, late=True))
    assert finished_segments(folder, SESSION, store) == []
    follow(folder, store)
    assert finished_segments(folder, SESSION, store) == [Segment(OLDER, 1)]
