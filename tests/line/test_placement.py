"""Where the networks run: in shared processes, in several workers, and what a killed one costs."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import Any

import pytest

from pipeline.messages import Reason, Verdict

pytestmark = pytest.mark.slow

BOTH = "reconstruction+segmentation"
SHARED = ["--set", "stages.segmentation={with: reconstruction}"]
TWO = ["--set", "stages.reconstruction={workers: 2, threads: 1, devices: [cpu, cpu]}"]
AS_FAST_AS_IT_GOES = ["--set", "camera.rate_hz=null"]
HELD = 16
"""Parts that one worker can hold with queues of 1 and batches of 2: on both sides of its socket, in
what it collects, computes and sends on, and on the way."""


def outcomes(line: Any) -> list[tuple[int, Verdict, float | None]]:
    """Number, verdict and score of every part of the last run."""
    session = line.summary["session"]
    return [
        (record.part.sequence, record.verdict, record.score)
        for record in line.records()
        if record.part.session == session
    ]


def test_shared_processes_give_the_verdicts_and_scores_of_separate_ones(line, verify, stage_pids):
    run = ["--parts", "24", *AS_FAST_AS_IT_GOES, "--set", "timing.deadline_ms=60000"]
    line.start(*run)
    assert line.wait() == 0
    separate = outcomes(line)

    line.start(*run, *SHARED, *TWO)
    assert len(stage_pids(line)) == 7, "both workers do the work of both stages"
    assert line.wait() == 0

    assert outcomes(line) == separate
    assert None not in {score for _, _, score in separate}
    assert len(verify(line)) == 24
    hops = {"end_to_end", "acquisition", "preprocessing", BOTH, "decision"}
    assert set(line.summary["latency_ms"]) == hops
    loads = line.summary["stages"]
    assert {name for name in loads if "reconstruction" in name} == {BOTH, f"{BOTH}.1"}
    inspected = [
        int(size) * count
        for name in (BOTH, f"{BOTH}.1")
        for size, count in loads[name]["batches"].items()
    ]
    assert sum(inspected) == 24


@pytest.mark.parametrize(
    ("stage", "placement"), [("reconstruction", []), (BOTH, SHARED)], ids=["separate", "shared"]
)
def test_a_killed_worker_costs_its_parts_in_flight_and_the_other_one_goes_on(
    line, plc, verify, stage, placement
):
    small = ["--set", "stages.queue=1", "--set", "batch={size: 2, max_wait_ms: 30}"]
    patient = ["--set", "timing.deadline_ms=20000"]  # a part is late only if it is lost
    line.start(*AS_FAST_AS_IT_GOES, *small, *patient, *TWO, *placement)
    plc.wait_for_inspected(20)
    killed = line.stage_pid(stage)
    killed_ns = time.time_ns()

    os.kill(killed, signal.SIGKILL)

    line.wait_for(f"DEGRADED: waiting for {re.escape(stage)}")
    line.wait_for("RUNNING: all processes are ready again")
    again_ns = time.time_ns()
    plc.wait_for_inspected(20)
    assert line.stop() == 0
    records = verify(line, plc)
    lost = [record for record in records if record.verdict is Verdict.UNINSPECTED]
    assert 0 < len(lost) <= HELD
    assert {record.reason for record in lost} == {Reason.DEADLINE}
    meanwhile = [r for r in records if killed_ns < r.decided_wall_ns < again_ns and r not in lost]
    assert meanwhile, "the other worker inspects while this one is away"


def test_a_stop_under_load_gives_the_parts_in_shared_processes_their_verdicts(line, plc, verify):
    line.start(*AS_FAST_AS_IT_GOES, "--set", "timing.deadline_ms=60000", *SHARED)
    plc.wait_for_inspected(10)

    assert line.stop() == 0

    records = verify(line, plc)
    assert all(record.verdict is not Verdict.UNINSPECTED for record in records)
