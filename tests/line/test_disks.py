"""A line whose disk is full: nothing unrecorded passes, the PLC sees it, and it returns alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from full_disk import full_disk_of
from pipeline.messages import Reason, Verdict
from small_disk import fill, small_disk

pytestmark = pytest.mark.slow
PATIENT = ("--set", "timing.deadline_ms=30000")


def size_of(folder: Path, pattern: str) -> int:
    """The largest of some files."""
    return max(file.stat().st_size for file in folder.rglob(pattern))


def test_a_full_disk_of_the_ledger_lets_nothing_pass_until_there_is_room(line, plc, verify):
    line.start(*PATIENT, "--set", "camera.rate_hz=4")
    plc.wait_for_inspected(3)
    pid = line.stage_pid("decision")

    with full_disk_of(pid, size_of(line.data_folder / "ledger", "*.jsonl")):
        status = plc.wait_for_status("DEGRADED", "cannot be written")
        plc.wait(lambda seen: seen.payloads[-1]["reasonCode"] == "NOT_RECORDED", "such a part")
        first = plc.payloads[-1]["sequence"]
        plc.wait(lambda seen: seen.payloads[-1]["sequence"] > first + 3, "further parts")
        full = [p for p in plc.payloads if p["sequence"] > first]
        assert {p["verdict"] for p in full} == {"UNINSPECTED"}

    assert "free space there" in status["cause"]
    plc.wait_for_status("RUNNING", "the alarm is over")
    plc.wait_for_inspected(3)
    assert line.stage_pid("decision") == pid
    assert line.stop() == 0
    records = verify(line, plc)
    withheld = [record for record in records if record.verdict is Verdict.UNINSPECTED]
    assert len(withheld) > 3
    assert {record.reason for record in withheld} == {Reason.NOT_RECORDED}


def test_a_full_disk_of_the_reject_log_is_told_and_costs_no_verdict(line, plc, verify):
    line.start(*PATIENT, "--set", "camera.rate_hz=4")
    plc.wait_for_inspected(3)

    with full_disk_of(line.stage_pid("recorder"), 1):
        status = plc.wait_for_status("DEGRADED", "verdicts wait in the journal")
        plc.wait_for_inspected(3)

    assert "reject log" in status["cause"]
    plc.wait_for_status("RUNNING", "the alarm is over")
    assert line.stop() == 0
    assert all(record.verdict is not Verdict.UNINSPECTED for record in verify(line, plc))


def test_a_line_that_ends_on_a_full_disk_says_what_its_log_lacks_and_records_it_later(line, plc):
    line.data_folder.mkdir()
    with small_disk(line.data_folder, "8m"):
        for name in ("ledger", "log"):
            (line.folder / name).mkdir()
            (line.data_folder / name).symlink_to(line.folder / name)
        line.start(*PATIENT, "--set", "camera.rate_hz=4")
        plc.wait_for_inspected(3)
        ballast = fill(line.data_folder)
        plc.wait_for_status("DEGRADED", "disk is full")
        plc.wait_for_inspected(3)

        assert line.stop() == 0

        said = line.summary
        assert said["unrecorded"] > 0
        line.wait_for(f"{said['unrecorded']} verdicts are not in the reject log yet")
        ballast.unlink()
        line.start("--parts", "3", "--set", "camera.rate_hz=4")
        assert line.wait() == 0
        assert list(line.data_folder.glob("*.sqlite-*")) == []
        logged = [r.part.sequence for r in line.records() if r.part.session == said["session"]]
        assert logged == list(range(1, said["parts"] + 1))
        assert len(line.records()) == said["parts"] + 3
        assert line.summary["unrecorded"] == 0


def test_decision_killed_on_a_full_disk_says_nothing_better_afterwards(line, plc, verify):
    """What it could not write is lost with it: those parts are UNINSPECTED a second time."""
    line.start(*PATIENT, "--set", "camera.rate_hz=4")
    plc.wait_for_inspected(3)
    pid = line.stage_pid("decision")
    with full_disk_of(pid, size_of(line.data_folder / "ledger", "*.jsonl")):
        plc.wait(lambda seen: seen.payloads[-1]["reasonCode"] == "NOT_RECORDED", "such a part")
        told = {p["sequence"] for p in plc.payloads if p["reasonCode"] == "NOT_RECORDED"}
        os.kill(pid, signal.SIGKILL)

    line.wait_for("RUNNING: all processes are ready again")
    plc.wait_for_inspected(3)
    assert line.stop() == 0
    by_sequence = {record.part.sequence: record for record in verify(line)}
    assert {by_sequence[sequence].verdict for sequence in told} == {Verdict.UNINSPECTED}
    for payload in plc.payloads:
        assert payload["verdict"] == by_sequence[payload["sequence"]].verdict
