"""A recorder whose disk is full when it ends: what the log lacks is counted, and is there later."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pytest

from pipeline.control import LineOrder, LineState
from pipeline.journal import JournalWriter
from pipeline.messages import Defect, Evidence, Part, Verdict
from pipeline.stage import StageContext
from reject_log.images import find_pictures, images_folder
from reject_log.recorder import CLOSE_NS, MEND_NS, RETRY_NS, Recorder
from reject_log.store import ReadStore, database_path
from small_disk import fill, small_disk

SESSION = "20261122-071502-3f9a"
ORDER = LineOrder(SESSION, LineState.RUNNING, "", 0)


@dataclass
class Waiting:
    """Time that passes only while the recorder pauses; `then` is done in its third pause."""

    now_ns: int = 0
    pauses: int = 0

    def clock(self) -> int:
        return self.now_ns

    def pause(self, seconds: float) -> None:
        self.pauses += 1
        self.now_ns += round(seconds * 1e9)
        if self.pauses == 3:
            self.then()

    def then(self) -> None:
        """Nothing."""


@pytest.fixture
def disk(config, tmp_path):
    """The reject log's own disk of 4 MB; the ledger lies elsewhere."""
    (tmp_path / "ledger").mkdir()
    config.data_folder.mkdir()
    with small_disk(config.data_folder, "4m"):
        config.ledger_folder.symlink_to(tmp_path / "ledger")
        yield config.data_folder


def recorder(config, waiting: Waiting) -> Recorder:
    context = StageContext(config, SESSION, 0, logging.getLogger("recorder"))
    return Recorder(context, waiting.clock, waiting.pause)


def recorded(config) -> list[int]:
    with ReadStore(database_path(config)) as store:
        return [record.part.sequence for record in store.each()]


def test_what_a_full_disk_does_not_take_is_counted_and_recorded_at_the_next_start(
    config, disk, make_record, note, caplog
):
    writer = JournalWriter(config.ledger_folder, SESSION)
    first, waiting = recorder(config, Waiting()), Waiting()
    writer.append(note(), *(make_record(n) for n in range(1, 4)))
    first.open()
    first.close()
    assert (recorded(config), first.report().unrecorded) == ([1, 2, 3], 0)

    ending = recorder(config, waiting)
    ending.open()
    ballast = fill(disk)
    writer.append(*(make_record(n) for n in range(4, 1004)))
    ending.tick(RETRY_NS, ORDER, True)
    assert "disk is full" in ending.report().warning
    ending.close()

    assert ending.report().unrecorded == 1000
    assert "1000 verdicts are not in the reject log" in caplog.text
    assert MEND_NS <= waiting.now_ns <= CLOSE_NS
    ballast.unlink()
    following = recorder(config, Waiting())
    following.open()
    following.close()
    assert list(disk.glob("*.sqlite-*")) == []
    assert recorded(config) == list(range(1, 1004))
    assert following.report().unrecorded == 0


def test_a_disk_that_is_nearly_full_is_told_before_anything_fails(config, disk):
    watching = recorder(config, Waiting())
    watching.open()
    watching.tick(RETRY_NS, ORDER, True)
    assert watching.report().alarm == ""

    ballast = fill(disk)
    watching.tick(2 * RETRY_NS, ORDER, True)

    assert "disk is nearly full: less than 0.125 MB are free" in watching.report().alarm
    assert watching.report().warning == watching.report().alarm
    ballast.unlink()
    watching.tick(3 * RETRY_NS, ORDER, True)
    assert watching.report().alarm == watching.report().warning == ""
    watching.close()


def test_room_that_comes_while_the_recorder_ends_is_used(config, disk, make_record, note):
    waiting = Waiting()
    ending = recorder(config, waiting)
    ending.open()
    ballast = fill(disk)
    waiting.then = ballast.unlink
    JournalWriter(config.ledger_folder, SESSION).append(note(), *(make_record(n) for n in (1, 2)))
    ending.close()
    assert list(disk.glob("*.sqlite-*")) == []
    assert waiting.pauses == 3
    assert recorded(config) == [1, 2]
    assert ending.report().unrecorded == 0


def test_pictures_leave_room_for_the_verdicts(config, disk, make_record, note):
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 1), np.uint8)
    keeping = recorder(config, Waiting())
    keeping.open()
    for number in range(1, 61):
        part = Part(3, SESSION, number)
        nothing = np.zeros((0, 0), np.float16)
        evidence = Evidence(
            part, Verdict.REJECT, (Defect(1, 2, 3, 4, 5, 0.9),), noise, noise, nothing
        )
        keeping.take([evidence])
    folder = images_folder(config)
    stored = [n for n in range(1, 61) if find_pictures(folder, make_record(n, has_images=True))]
    assert stored == list(range(1, len(stored) + 1))
    assert 10 < len(stored) < 60
    assert "are free, which are kept for the verdicts" in keeping.report().warning
    writer = JournalWriter(config.ledger_folder, SESSION)
    writer.append(note(), *(make_record(n) for n in range(1, 501)))
    keeping.close()
    assert len(recorded(config)) == 500
