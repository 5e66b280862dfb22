from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from pipeline.control import LineOrder, LineState
from pipeline.journal import JournalWriter, segments
from pipeline.messages import Defect, Delivery, Evidence, Part, PublishedNote, Verdict
from pipeline.stage import StageContext
from reject_log.images import find_pictures, images_folder
from reject_log.recorder import (
    CLOSE_NS,
    LINES_PER_TICK,
    MEND_NS,
    POLL_NS,
    READ_ON_NS,
    RETRY_NS,
    Recorder,
    build,
)
from reject_log.store import ReadStore, database_path

SESSION = "20261122-071502-3f9a"
OLDER = "20261120-060000-aaaa"
ORDER = LineOrder(SESSION, LineState.RUNNING, "", 0)

RECORDER_PROCESS = """
import logging, sys, time
from pipeline.config_file import line_file, load_line
from pipeline.control import LineOrder, LineState
from pipeline.stage import StageContext
from reject_log import recorder

recorder.LINES_PER_TICK = 20
config = load_line(line_file(3), [("data_folder", sys.argv[1])])
stage = recorder.build(StageContext(config, sys.argv[2], 0, logging.getLogger("recorder")))
stage.open()
for _ in sys.stdin:
    stage.tick(time.monotonic_ns(), LineOrder(sys.argv[2], LineState.RUNNING, "", 0), True)
    print("tick", flush=True)
"""


class Clock:
    """Time that passes by as much as each tick needs to look at the journal again."""

    now_ns = 0

    def tick(self, recorder: Recorder, ticks: int = 1) -> None:
        for _ in range(ticks):
            self.now_ns += max(POLL_NS, RETRY_NS)
            assert list(recorder.tick(self.now_ns, ORDER, True)) == []


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def recorder(config):
    return build(StageContext(config, SESSION, 0, logging.getLogger("recorder")))


def recorded(config, session=SESSION):
    with ReadStore(database_path(config)) as store:
        parts = [record.part for record in store.each()]
    return [part.sequence for part in parts if part.session == session]


def test_verdicts_reach_the_database_while_the_line_runs(
    config, recorder, clock, make_record, announce, note
):
    writer = JournalWriter(config.ledger_folder, SESSION)
    recorder.open()
    clock.tick(recorder)
    writer.append(note(), announce(1), make_record(1))
    clock.tick(recorder)
    assert recorded(config) == [1]
    writer.next_segment(note())
    writer.append(make_record(2))
    clock.tick(recorder, 2)
    assert recorded(config) == [1, 2]


def test_what_the_broker_said_reaches_the_database(config, recorder, clock, make_record, note):
    writer = JournalWriter(config.ledger_folder, SESSION)
    writer.append(note(), *(make_record(n) for n in (1, 2, 3)), PublishedNote(((1, 1),)))
    recorder.open()
    writer.append(PublishedNote((), ((2, 2),)))
    clock.tick(recorder)
    with ReadStore(database_path(config)) as store:
        said = [record.delivery for record in store.each()]
    assert said == [Delivery.DELIVERED, Delivery.UNDELIVERED, None]


def test_a_line_without_any_journal_is_idle(recorder, clock):
    recorder.open()
    clock.tick(recorder)
    assert recorder.report().idle
    recorder.close()


def test_a_tick_is_bounded_and_idle_comes_at_the_end(config, recorder, clock, make_record):
    writer = JournalWriter(config.ledger_folder, SESSION)
    writer.append(*(make_record(n) for n in range(1, 2 * LINES_PER_TICK + 2)))
    recorder.open()
    assert len(recorded(config)) == LINES_PER_TICK
    assert not recorder.report().idle
    clock.tick(recorder, 2)
    assert not recorder.report().idle
    clock.tick(recorder)
    assert recorder.report().idle
    assert len(recorded(config)) == 2 * LINES_PER_TICK + 1


def test_the_journal_is_not_looked_at_in_every_tick(config, recorder, make_record):
    writer = JournalWriter(config.ledger_folder, SESSION)
    recorder.open()
    recorder.tick(POLL_NS, ORDER, True)
    writer.append(make_record(1))
    recorder.tick(POLL_NS + 1, ORDER, True)
    assert recorded(config) == []
    recorder.tick(2 * POLL_NS, ORDER, True)
    assert recorded(config) == [1]


def test_a_journal_that_grows_all_the_time_is_read_a_few_times_a_second_and_tidied(
    config, recorder, clock, make_record, note
):
    writer = JournalWriter(config.ledger_folder, SESSION)
    recorder.open()
    for n in range(1, 9):
        writer.next_segment(note())
        writer.append(make_record(n))
        clock.tick(recorder)
        assert recorded(config) == list(range(1, n + 1))
        assert recorder.due_ns(clock.now_ns) == clock.now_ns + POLL_NS
    assert len(segments(config.ledger_folder)) <= 3


def test_a_long_journal_is_read_on_with_short_pauses(config, recorder, clock, make_record):
    writer = JournalWriter(config.ledger_folder, SESSION)
    recorder.open()
    writer.append(*(make_record(n) for n in range(1, LINES_PER_TICK + 2)))
    clock.tick(recorder)
    assert recorder.due_ns(clock.now_ns) == clock.now_ns + READ_ON_NS
    clock.tick(recorder)
    assert recorder.due_ns(clock.now_ns) == clock.now_ns + POLL_NS


def test_close_reads_to_the_end(config, recorder, make_record):
    writer = JournalWriter(config.ledger_folder, SESSION)
    recorder.open()
    writer.append(*(make_record(n) for n in range(1, 2000)))
    recorder.close()
    assert recorded(config) == list(range(1, 2000))


def test_a_killed_line_is_taken_in_first_and_its_segments_go(
    config, recorder, clock, make_record, announce, note
):
    old = JournalWriter(config.ledger_folder, OLDER)
    old.append(note(OLDER), announce(1, OLDER), make_record(1, OLDER))
    old.next_segment(note(OLDER))
    old.append(announce(2, OLDER))
    current = JournalWriter(config.ledger_folder, SESSION)
    for n in range(1, 4):
        current.append(make_record(n))
        current.next_segment(note())
    recorder.open()
    assert recorded(config) == []
    assert recorded(config, OLDER) == [1]
    clock.tick(recorder, 10)
    assert recorded(config) == [1, 2, 3]
    left = [(segment.session, segment.number) for segment in segments(config.ledger_folder)]
    assert left == [(OLDER, 1), (OLDER, 2), (SESSION, 3), (SESSION, 4)]
    old.append(make_record(2, OLDER, late=True))
    clock.tick(recorder, 3)
    assert recorded(config, OLDER) == [1, 2]
    left = [(segment.session, segment.number) for segment in segments(config.ledger_folder)]
    assert left == [(SESSION, 3), (SESSION, 4)]


def test_segments_stay_until_their_rows_are_on_the_disk(config, recorder, clock, make_record, note):
    recorder.open()
    clock.tick(recorder)
    writer = JournalWriter(config.ledger_folder, SESSION)
    writer.append(make_record(1), make_record(2))
    clock.tick(recorder, 2)
    with ReadStore(database_path(config)) as reader:
        holds_back_the_checkpoint = reader.each()
        next(holds_back_the_checkpoint)
        for n in range(3, 6):
            writer.next_segment(note())
            writer.append(make_record(n))
        clock.tick(recorder, 8)
        assert recorder.report().idle
        assert len(segments(config.ledger_folder)) == 4
        holds_back_the_checkpoint.close()
    clock.tick(recorder, 2)
    assert [segment.number for segment in segments(config.ledger_folder)] == [3, 4]


def test_a_damaged_line_is_logged_counted_and_skipped(config, recorder, clock, make_record, caplog):
    writer = JournalWriter(config.ledger_folder, SESSION)
    writer.append(make_record(1))
    file = config.ledger_folder / segments(config.ledger_folder)[0].file_name
    with file.open("ab") as journal:
        journal.write(b'{"schema":"verdict/1","part":\xff\n')
    writer.append(make_record(2**70), make_record(2))
    recorder.open()
    clock.tick(recorder)
    assert recorded(config) == [1, 2]
    assert recorder.damaged == 2
    assert "journal line left out" in caplog.text
    assert recorder.report().idle


def test_a_database_that_cannot_be_opened_costs_nothing_but_time(
    config, recorder, clock, make_record
):
    JournalWriter(config.ledger_folder, SESSION).append(make_record(1), make_record(2))
    database_path(config).mkdir(parents=True)
    recorder.open()
    clock.tick(recorder, 3)
    report = recorder.report()
    assert not report.idle
    assert str(database_path(config)) in report.warning
    assert "verdicts wait in the journal" in report.warning
    assert report.alarm == report.warning, "the PLC hears of it"
    assert len(segments(config.ledger_folder)) == 1
    database_path(config).rmdir()
    clock.tick(recorder, 2)
    assert recorder.report().warning == ""
    assert recorder.report().idle
    assert recorded(config) == [1, 2]


def test_a_full_database_is_tried_again(config, recorder, clock, make_record):
    writer = JournalWriter(config.ledger_folder, SESSION)
    recorder.open()
    clock.tick(recorder)
    recorder._store._database.execute("PRAGMA max_page_count = 1")
    writer.append(*(make_record(n, text="x" * 2000) for n in range(1, 100)))
    clock.tick(recorder)
    assert "the disk is full" in recorder.report().warning
    assert recorder.report().alarm == "", "not of one attempt: the database may only be locked"
    assert recorded(config) == []
    clock.tick(recorder, 2)
    assert recorder.report().warning == recorder.report().alarm == ""
    assert recorded(config) == list(range(1, 100))


def test_close_gives_up_on_a_broken_database(config, make_record):
    waited_s: list[float] = []
    context = StageContext(config, SESSION, 0, logging.getLogger("recorder"))
    recorder = Recorder(context, lambda: round(1e9 * sum(waited_s)), waited_s.append)
    JournalWriter(config.ledger_folder, SESSION).append(make_record(1))
    database_path(config).mkdir(parents=True)
    recorder.open()
    recorder.close()
    assert MEND_NS / 1e9 <= sum(waited_s) <= CLOSE_NS / 1e9
    assert (recorder.report().idle, recorder.report().unrecorded) == (False, 1)
    assert len(segments(config.ledger_folder)) == 1


def test_a_deleted_database_is_made_anew_from_the_journal(config, recorder, clock, make_record):
    writer = JournalWriter(config.ledger_folder, SESSION)
    writer.append(make_record(1))
    recorder.open()
    clock.tick(recorder)
    for file in config.data_folder.glob("reject_log.sqlite*"):
        file.unlink()
    writer.append(make_record(2))
    clock.tick(recorder, 2)
    assert recorded(config) == [1, 2]
    assert recorder.report().warning == ""


def _evidence(sequence=1):
    view = np.full((40, 60, 1), 77, np.uint8)
    defects = (Defect(10, 10, 5, 5, 20, 0.9),)
    part = Part(3, SESSION, sequence)
    pixels = np.zeros((32, 32), np.float16)
    return Evidence(part, Verdict.REJECT, defects, view, view, pixels)


def test_pictures_are_stored_at_once(config, recorder, make_record):
    recorder.open()
    assert list(recorder.take([_evidence(1), _evidence(2)])) == []
    folder = images_folder(config)
    assert len(find_pictures(folder, make_record(1, has_images=True))) == 3
    assert len(find_pictures(folder, make_record(2, has_images=True))) == 3


def test_a_disk_that_takes_no_pictures_is_a_warning(config, recorder, clock, make_record):
    images_folder(config).parent.mkdir(parents=True)
    images_folder(config).write_text("")
    recorder.open()
    recorder.take([_evidence(1), _evidence(2)])
    JournalWriter(config.ledger_folder, SESSION).append(make_record(1))
    clock.tick(recorder, 2)
    report = recorder.report()
    assert report.idle
    assert "pictures of 2 parts could not be stored" in report.warning
    assert recorded(config) == [1]


def test_killed_again_and_again_each_part_is_there_exactly_once(config, recorder, make_record):
    parts = 4000
    writer = JournalWriter(config.ledger_folder, SESSION)
    for n in range(1, parts + 1):
        writer.append(make_record(n, text=f"text {n}"))
        if n % 700 == 0:
            writer.next_segment()
    command = [sys.executable, "-c", RECORDER_PROCESS, str(config.data_folder), SESSION]
    seen = []
    for done in (1, 5, 12, 25):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            process.stdin.write(b"\n" * 40)
            process.stdin.flush()
            for _ in range(done):
                assert process.stdout.readline() == b"tick\n"
            os.kill(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        seen.append(len(recorded(config)))
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1] < parts
    recorder.open()
    recorder.close()
    with ReadStore(database_path(config)) as store:
        found = [(record.part.sequence, record.text) for record in store.each()]
    assert found == [(n, f"text {n}") for n in range(1, parts + 1)]


def test_a_killed_writer_and_a_torn_line_lose_nothing_written(config, recorder, clock, make_record):
    writer = JournalWriter(config.ledger_folder, SESSION)
    writer.append(make_record(1), make_record(2))
    file = config.ledger_folder / segments(config.ledger_folder)[0].file_name
    with file.open("ab") as journal:
        journal.write(b'{"schema":"verdict/1","part":{"line":3')
    recorder.open()
    clock.tick(recorder)
    assert recorder.report().idle
    returned = JournalWriter(config.ledger_folder, SESSION)
    returned.append(make_record(3))
    clock.tick(recorder)
    assert recorded(config) == [1, 2, 3]
    assert recorder.damaged == 0
