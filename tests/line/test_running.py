"""A line that is left alone: one verdict per part, the same score every time, a clean end."""

from __future__ import annotations

import json
import signal
import stat
import time

import pytest

from pipeline.messages import Verdict

pytestmark = pytest.mark.slow
UNHURRIED = ("--set", "timing.deadline_ms=60000")
"""Where the queues are kept full, a part waits as long as this machine needs for all before it."""


def test_line_3_inspects_every_part_and_tells_everybody(line, plc, verify, run_cli):
    started_s = time.monotonic()
    line.start("--parts", "40", "--set", "camera.defect_share=0.3")
    assert time.monotonic() - started_s < 15, "the line must be RUNNING within 15 s"
    assert stat.S_IMODE(line.run_folder.stat().st_mode) == 0o700

    assert line.wait() == 0

    records = verify(line, plc)
    assert len(records) == 40
    plc.wait(lambda seen: "HALTED" in seen.states, "HALTED")
    assert len(plc.payloads) == 40
    truth = line.summary["truth"]
    assert truth["defective"] + truth["good"] == 40
    assert truth["defective"] == sum(record.truth.defective for record in records)
    assert not line.run_folder.exists()
    for record in records:
        pictures = sorted(line.data_folder.glob(f"images/**/{record.part.part_id}_*"))
        if record.verdict is not Verdict.PASS:
            assert len(pictures) == 3, record.part.part_id


def test_the_summary_has_everything_that_programs_read(line):
    line.start("--parts", "12")
    assert line.wait() == 0

    summary = line.summary

    stages = {"acquisition", "preprocessing", "reconstruction", "segmentation", "decision"}
    assert set(summary["latency_ms"]) == {"end_to_end", *stages}
    assert set(summary["latency_ms"]["end_to_end"]) == {"p50", "p90", "p99"}
    assert set(summary["verdicts"]) == {"PASS", "REJECT", "UNINSPECTED"}
    assert summary["parts"] == 12
    assert summary["parts_per_second"] > 0
    assert summary["bundle"]
    assert summary["calibration"]


def test_the_same_frames_score_the_same_in_every_run(line):
    scores = []
    for rate in ("3", "null"):  # other rates form other batches
        line.start("--parts", "24", "--set", f"camera.rate_hz={rate}", *UNHURRIED)
        assert line.wait() == 0
        session = line.summary["session"]
        scores.append([r.score for r in line.records() if r.part.session == session])

    assert None not in scores[0]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_under_load_gives_the_parts_in_flight_their_verdicts(line, plc, verify, number):
    line.start("--set", "camera.rate_hz=null", *UNHURRIED)
    plc.wait_for_inspected(10)

    assert line.stop(number) == 0

    records = verify(line, plc)
    assert [r for r in records if r.verdict is Verdict.UNINSPECTED] == []
    assert not line.run_folder.exists()


def test_overload_is_answered_and_the_line_goes_on(line, plc, verify):
    line.start("--parts", "300", "--set", "camera.rate_hz=100")

    assert line.wait() == 0

    records = verify(line, plc)
    reasons = {record.reason.value for record in records}
    assert len(records) == 300
    assert "OVERLOAD" in reasons
    assert reasons & {"BELOW_THRESHOLD", "ABOVE_THRESHOLD"}


def test_the_reject_log_lists_what_the_line_rejected(line, run_cli):
    line.start("--parts", "30", "--set", "camera.defect_share=0.5")
    assert line.wait() == 0
    rejected = line.summary["verdicts"]["REJECT"]

    command = ["-m", "reject_log.command", "--line", "3", *line.arguments()]
    listed = run_cli([*command, "--since", "1h", "--verdict", "REJECT", "--json"])

    assert listed.returncode == 0, listed.stderr
    entries = [json.loads(text) for text in listed.stdout.splitlines()]
    assert len(entries) == rejected > 0


def test_a_stage_can_be_run_by_hand(line, plc, verify, start_stage):
    line.start("--by-hand", "preprocessing", "--parts", "20", ready=False)
    line.wait_for("not ready: .*preprocessing")
    stage = start_stage(line, "preprocessing")
    line.wait_for("RUNNING")

    assert line.wait() == 0

    assert stage.wait(20) == 0
    assert len(verify(line, plc)) == 20


def test_a_second_start_of_the_same_line_is_refused(line, run_cli):
    line.start()

    second = run_cli(["run_line.py", "--line", "3", *line.arguments(), "--parts", "1"])

    assert second.returncode == 1
    assert "is running already" in second.stderr
    assert str(line.process.pid) in second.stderr
    assert line.stop() == 0


def test_another_line_with_the_same_data_folder_is_refused(line, plc, verify, run_cli, tmp_path):
    line.start("--parts", "40")
    plc.wait_for_inspected(3)
    other = ["--set", "line=7", "--set", f"run_folder={tmp_path / 'run7'}"]

    second = run_cli(["run_line.py", "--line", "3", *line.arguments(), *other, "--parts", "1"])

    assert second.returncode == 1
    assert f"is in use by line 3 (process {line.process.pid})" in second.stderr
    assert line.wait() == 0
    assert len(verify(line, plc)) == 40


def test_several_workers_share_the_work(line, plc, verify):
    line.start("--parts", "40", "--set", "stages.reconstruction={workers: 2, threads: 1}")

    assert line.wait() == 0

    assert len(verify(line, plc)) == 40
    assert all(record.verdict is not Verdict.UNINSPECTED for record in line.records())
