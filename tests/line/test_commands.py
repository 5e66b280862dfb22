"""A line that is commanded: by its PLC, over a real broker, with real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from calibration.record import load_active, save_and_activate
from pipeline.messages import Reason, Verdict
from stages.bundle import load_bundle
from stages.execution import Execution

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "configs" / "line_3"
PATIENT = ("--set", "timing.deadline_ms=30000")
"""Enough for every part, however busy the machine is."""


def all_settled(plc):
    """Whether a paused line has said twice that every part has its verdict: the last one before
    the pause may not be announced yet when it says so first.
    """
    beats = [beat for beat in plc.said["heartbeat"] if beat["state"] == "PAUSED"]
    counts = [(beat["settled"], beat["sequence"]) for beat in beats[-2:]]
    return len(counts) == 2 and counts[0] == counts[1] and counts[1][0] == counts[1][1]


def test_pause_keeps_the_parts_in_flight_and_resume_goes_on(line, plc, verify):
    line.start(*PATIENT)
    plc.wait_for_inspected(3)

    assert plc.command("pause")["result"] == "accepted"

    plc.wait_for_status("PAUSED", "command pause")
    plc.wait(all_settled, "verdicts of the parts in flight")
    assert plc.command("start")["result"] == "refused"
    assert plc.command("resume")["result"] == "accepted"
    plc.wait_for_inspected(3)
    assert line.stop() == 0
    assert all(record.verdict is not Verdict.UNINSPECTED for record in verify(line, plc))


def test_stop_waits_in_ready_and_start_begins_again(line, plc, verify):
    line.start(*PATIENT, "--set", "supervision.autostart=false", ready=False)
    line.wait_for("READY: all processes are ready")
    assert plc.payloads == []

    assert plc.command("start")["result"] == "accepted"
    plc.wait_for_inspected(3)
    assert plc.command("next_batch", batch="B-7")["result"] == "accepted"
    plc.wait(lambda seen: seen.payloads[-1]["batch"] == "B-7", "part of the batch")
    assert plc.command("stop")["result"] == "accepted"
    status = plc.wait_for_status("READY", "every part has its verdict")
    assert status["batch"] == "B-7"
    assert len(plc.payloads) == status["sequence"], "nothing is in flight"
    assert plc.command("start")["result"] == "accepted"
    plc.wait_for_inspected(3)

    assert line.stop() == 0
    verify(line, plc)
    seen = [state for n, state in enumerate(plc.states) if n == 0 or plc.states[n - 1] != state]
    assert seen[seen.index("READY") :] == [
        "READY", "RUNNING", "STOPPING", "READY", "RUNNING", "STOPPING", "HALTED",
    ]  # fmt: skip


def test_a_recipe_is_changed_while_the_line_is_paused(line, plc, verify, tmp_path):
    for name in ("cap_b", "cap_c"):
        shutil.copytree(MODEL / "bundle", tmp_path / name / "bundle")
        shutil.copytree(MODEL / "calibration", tmp_path / name / "calibration")
    shutil.rmtree(tmp_path / "cap_c" / "calibration")
    recipes = [
        {"name": name, "bundle": f"{tmp_path}/{name}/bundle",
         "calibration": f"{tmp_path}/{name}/calibration"}
        for name in ("cap_b", "cap_c")
    ]  # fmt: skip
    line.start(*PATIENT, "--set", f"recipes={json.dumps(recipes)}")
    plc.wait_for_inspected(3)
    assert plc.command("select_recipe", recipe="cap_b")["reason"].startswith("select_recipe is")
    before = {stage: line.stage_pid(stage) for stage in ("reconstruction", "decision")}

    plc.command("pause")
    refused = plc.command("select_recipe", recipe="cap_c")
    assert "recipe cap_c cannot be used" in refused["reason"]
    assert "no calibration" in refused["reason"]
    assert plc.command("select_recipe", recipe="cap_b")["result"] == "accepted"
    status = plc.wait_for_status("PAUSED", "recipe cap_b is loaded")
    assert status["recipe"] == "cap_b"
    causes = [status["cause"] for status in plc.said["status"]]
    loading = causes[causes.index("recipe cap_b is being loaded") :]
    assert loading == ["recipe cap_b is being loaded", "recipe cap_b is loaded"]
    assert plc.command("resume")["result"] == "accepted"

    plc.wait_for_inspected(3)
    assert plc.payloads[0]["recipe"] == "default"
    assert plc.payloads[-1]["recipe"] == "cap_b"
    assert line.stage_pid("decision") == before["decision"], "the line goes on"
    assert line.stage_pid("reconstruction") != before["reconstruction"]
    assert line.stop() == 0
    assert all(record.verdict is not Verdict.UNINSPECTED for record in verify(line, plc))


def test_the_present_recipe_selected_again_brings_its_new_calibration(line, plc, verify, tmp_path):
    folder = tmp_path / "calibration"
    shutil.copytree(MODEL / "calibration", folder)
    line.start(*PATIENT, "--set", f"calibration.folder={folder}")
    plc.wait_for_inspected(3)
    before = load_active(folder, load_bundle(MODEL / "bundle").id, "mend")
    changes = {
        "threshold": before.threshold / 2,
        "created": before.created + timedelta(seconds=1),
        "dtype": Execution().computes_in,
    }
    new = before.model_copy(update=changes)
    save_and_activate(folder, new)

    plc.command("pause")
    plc.wait(all_settled, "verdicts of the parts in flight")
    assert plc.payloads[-1]["threshold"] == before.threshold
    assert plc.command("select_recipe", recipe="default")["result"] == "accepted"
    plc.wait_for_status("PAUSED", "recipe default is loaded")
    assert plc.command("resume")["result"] == "accepted"

    plc.wait_for_inspected(3)
    assert plc.payloads[-1]["threshold"] == new.threshold
    assert plc.payloads[-1]["calibrationId"] == new.id
    assert line.stop() == 0
    assert all(record.verdict is not Verdict.UNINSPECTED for record in verify(line, plc))


@pytest.mark.parametrize("stage", ["segmentation", "decision", "acquisition"])
def test_a_process_that_dies_in_a_paused_line_is_told_and_replaced(line, plc, verify, stage):
    line.start(*PATIENT)
    plc.wait_for_inspected(3)
    plc.command("pause")
    plc.wait(all_settled, "verdicts of the parts in flight")
    plc.said["status"].clear()

    os.kill(line.stage_pid(stage), signal.SIGKILL)

    line.wait_for(f"PAUSED: waiting for {stage}")
    plc.wait_for_status("PAUSED", "all processes are ready again")
    told = [(status["state"], status["cause"]) for status in plc.said["status"]]
    # Without decision nobody speaks for the line but the broker, with its last will.
    first = ("OFFLINE", "lost") if stage == "decision" else ("PAUSED", f"waiting for {stage}")
    assert told[0][0] == first[0]
    assert first[1] in told[0][1]
    assert plc.command("resume")["result"] == "accepted"
    plc.wait_for_inspected(3)
    assert line.stop() == 0
    assert not [record for record in verify(line, plc) if record.verdict is Verdict.UNINSPECTED]


def test_a_silent_process_of_a_line_that_waits_for_start_is_told_and_replaced(line, plc, verify):
    line.start(
        *PATIENT,
        *("--set", "supervision.autostart=false"),
        *("--set", "supervision.silence_timeout_s=2"),
        ready=False,
    )
    line.wait_for("READY: all processes are ready")
    plc.wait_for_status("READY", "all processes are ready")

    os.kill(line.stage_pid("segmentation"), signal.SIGSTOP)

    plc.wait_for_status("READY", "waiting for segmentation")
    assert plc.command("start")["reason"].startswith("waiting for segmentation")
    plc.wait_for_status("READY", "all processes are ready again")
    assert plc.command("start")["result"] == "accepted"
    plc.wait_for_inspected(3)
    assert line.stop() == 0
    verify(line, plc)


def test_parts_follow_the_encoder_of_the_simulated_plc(line, run_cli, verify):
    """The line's own words, and a second program that follows them to the gate."""
    settings = ("--set", "timing.reject_distance_mm=2000", "--set", "mqtt.ack_window_s=20")
    line.start("--parts", "30", "--set", "camera.rate_hz=4", *PATIENT, *settings)
    seen_file = line.folder / "seen.json"

    arguments = [*line.arguments(), *PATIENT, *settings, "--json", str(seen_file)]
    command = ["-m", "plc.simulator_command", "--line", "3", "--speed", "100", "--quiet"]
    simulator = run_cli([*command, *arguments])

    assert simulator.returncode == 0, simulator.stdout + simulator.stderr
    assert line.wait() == 0
    records = verify(line)
    seen = json.loads(seen_file.read_text())
    gate = seen["gate"]
    assert gate["wrong"] == gate["contradictions"] == gate["silent"] == 0
    assert gate["parts"] == gate["passed"] + gate["right"] <= 30
    assert seen["acknowledged"] == gate["right"]
    assert seen["states"][-1] == "HALTED"
    placed = [record for record in records if record.reason is not Reason.NOT_ANNOUNCED]
    assert len(placed) == 30
