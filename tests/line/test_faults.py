"""A line that is hurt: it mends itself, counts what it lost, and never passes an unseen part."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from camera_server import CameraServer
from pipeline.config_file import line_file, load_line
from pipeline.messages import Reason, Verdict

pytestmark = pytest.mark.slow

STAGES = ["acquisition", "preprocessing", "reconstruction", "segmentation", "decision", "recorder"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_is_replaced_and_its_parts_are_uninspected(line, plc, verify, stage):
    line.start("--set", "camera.rate_hz=8", "--set", "timing.deadline_ms=2500")
    plc.wait_for_inspected(8)
    first = line.stage_pid(stage)

    os.kill(first, signal.SIGKILL)

    line.wait_for(f"DEGRADED: waiting for {stage}")
    line.wait_for("RUNNING: all processes are ready again")
    assert line.stage_pid(stage) != first
    plc.wait_for_inspected(8)
    assert line.stop() == 0
    records = verify(line, plc)
    for record in records:
        if record.verdict is Verdict.UNINSPECTED:
            assert record.reason in {Reason.DEADLINE, Reason.OVERLOAD, Reason.NOT_ANNOUNCED}


def test_a_silent_stage_is_killed_and_replaced(line, plc, verify):
    line.start("--set", "supervision.silence_timeout_s=2")
    plc.wait_for_inspected(3)

    os.kill(line.stage_pid("segmentation"), signal.SIGSTOP)

    line.wait_for("DEGRADED: waiting for segmentation")
    line.wait_for("RUNNING: all processes are ready again")
    plc.wait_for_inspected(3)
    assert line.stop() == 0
    verify(line, plc)


def test_a_frozen_process_shows_within_two_seconds_and_is_not_killed_for_it(line, plc, verify):
    """With the times that a line has by default. A frozen supervisor is told by decision."""
    line.start("--set", "camera.rate_hz=4", "--set", "supervision.silence_timeout_s=30")
    plc.wait_for_inspected(3)
    assert line.process is not None
    pids = {stage: line.stage_pid(stage) for stage in ("preprocessing", "segmentation", "recorder")}
    for stage, pid in (*pids.items(), ("the supervisor", line.process.pid)):
        os.kill(pid, signal.SIGSTOP)
        began_s = time.monotonic()
        plc.wait_for_status("DEGRADED", f"no sign of life from {stage}")
        seen_s = plc.status_s[-1] - began_s
        os.kill(pid, signal.SIGCONT)
        assert seen_s <= 2.0, f"{stage}: seen after {seen_s:.2f} s"
        plc.wait_for_status("RUNNING")
        plc.wait_for_inspected(2)
    assert pids == {stage: line.stage_pid(stage) for stage in pids}
    assert line.stop() == 0
    verify(line, plc)


def test_a_frozen_decision_shows_by_its_heartbeat(line, plc, verify):
    line.start("--set", "camera.rate_hz=4")
    plc.wait_for_inspected(3)
    pid, period_s = line.stage_pid("decision"), load_line(line_file(3)).mqtt.heartbeat_s
    assert 3 * period_s < 2.0, "three missing ones must show within 2 s"
    count = len(plc.said["heartbeat"])
    plc.wait(lambda seen: len(seen.said["heartbeat"]) > count + 4, "heartbeats")

    os.kill(pid, signal.SIGSTOP)

    line.wait_for("DEGRADED: no sign of life from decision")
    frozen = len(plc.said["heartbeat"])
    os.kill(pid, signal.SIGCONT)
    plc.wait(lambda seen: len(seen.said["heartbeat"]) > frozen, "a heartbeat")
    counters = [beat["counter"] for beat in plc.said["heartbeat"]]
    assert counters == sorted(set(counters))
    plc.wait_for_inspected(3)
    assert line.stop() == 0
    verify(line, plc)


def test_a_stage_that_keeps_dying_ends_in_a_fault(line, plc):
    line.start("--set", "supervision.restarts=1")
    plc.wait_for_inspected(1)
    for _ in range(2):
        os.kill(line.stage_pid("preprocessing"), signal.SIGKILL)
        said = line.wait_for("DEGRADED: waiting for preprocessing|FAULT")
        if "FAULT" not in said:
            line.wait_for("RUNNING: all processes are ready again")

    assert line.wait() == 1

    assert any("failed more than 1 times" in text for text in line.output)
    plc.wait(lambda seen: "FAULT" in seen.states, "FAULT")
    assert not line.run_folder.exists()


def test_a_line_that_lost_its_voice_says_fault_and_hears_of_its_reset(line, plc, verify):
    """Decision speaks for the line, the broker carries it: they come back in a FAULT, however
    often they die.
    """
    line.start("--set", "supervision.restarts=0", "--set", "supervision.hold_fault=true")
    plc.wait_for_inspected(3)
    for stage in ("decision", "decision", "broker"):
        pid = line.stage_pid(stage)
        plc.said["status"].clear()
        os.kill(pid, signal.SIGKILL)
        plc.wait_for_status("FAULT", "decision failed more than 0 times")

    assert plc.command("reset_fault")["result"] == "accepted"

    plc.wait_for_status("RUNNING", "all processes are ready")
    plc.wait_for_inspected(3)
    assert line.stop() == 0
    records = verify(line, plc)
    assert plc.told(line.summary["session"]) == set(range(1, len(records) + 1))


def test_a_line_that_ends_by_the_loss_of_its_voice_leaves_fault_at_the_broker(
    line, plc, verify, mosquitto
):
    mosquitto(line.port).start()
    broker = f"mqtt.broker={{kind: external, host: 127.0.0.1, port: {line.port}}}"
    line.start("--set", "supervision.restarts=0", "--set", broker)
    plc.wait_for_inspected(3)

    os.kill(line.stage_pid("decision"), signal.SIGKILL)

    assert line.wait() == 1
    records = verify(line, plc)
    assert plc.told(line.summary["session"]) == set(range(1, len(records) + 1))
    late = type(plc)(line.port)
    late.wait_for_status("FAULT", "decision failed more than 0 times")
    late.close()


def test_a_killed_supervisor_takes_its_stages_along_and_the_next_start_cleans_up(
    line, plc, stage_pids, gone
):
    line.start("--set", "camera.rate_hz=null")
    plc.wait_for_inspected(5)
    pids = stage_pids(line)
    assert len(pids) == 7
    plc.states.clear()

    line.kill()

    gone(pids, within_s=5.0)
    assert line.run_folder.exists()
    line.start("--parts", "5")
    assert line.wait() == 0
    assert not line.run_folder.exists()
    by_session: dict[str, list[int]] = {}
    for record in line.records():
        by_session.setdefault(record.part.session, []).append(record.part.sequence)
    assert len(by_session) == 2
    for sequences in by_session.values():  # each announced part of the killed line is closed too
        assert sequences == list(range(1, len(sequences) + 1))


def test_a_broker_that_is_away_at_the_start_is_found_later(line, plc, verify, mosquitto):
    broker = mosquitto(line.port)
    line.start("--set", f"mqtt.broker={{kind: external, host: 127.0.0.1, port: {line.port}}}")
    assert "away" in line.wait_for("away since")

    broker.start()

    plc.wait_for_inspected(5)
    assert line.stop() == 0
    records = verify(line, plc)
    assert len(records) > len({payload["partId"] for payload in plc.payloads}), (
        "the log has the parts that the PLC could not be told"
    )


def test_a_broker_that_dies_comes_back_without_costing_a_part(line, plc, verify, mosquitto):
    broker = mosquitto(line.port)
    broker.start()
    line.start("--set", f"mqtt.broker={{kind: external, host: 127.0.0.1, port: {line.port}}}")
    plc.wait_for_inspected(3)

    broker.kill()
    line.wait_for("away since")
    broker.start()

    plc.wait_for_inspected(3)
    assert line.stop() == 0
    assert all(record.verdict is not Verdict.UNINSPECTED for record in verify(line, plc))


def test_a_killed_embedded_broker_is_replaced(line, plc, verify):
    line.start()
    plc.wait_for_inspected(3)

    os.kill(line.stage_pid("broker"), signal.SIGKILL)

    line.wait_for("RUNNING: all processes are ready again")
    plc.wait_for_inspected(3)
    assert line.stop() == 0
    assert all(record.verdict is not Verdict.UNINSPECTED for record in verify(line, plc))


@pytest.fixture
def open_camera():
    """Starts network cameras."""
    opened = []

    def start(port=0):
        opened.append(CameraServer(port))
        return opened[-1]

    yield start
    for camera in opened:
        camera.close()


def show_until(camera, plc, condition, what):
    """One frame after the other, until the line has answered."""
    for _ in range(30):
        camera.send(1)
        if plc.heard(condition, 0.5):
            return
    pytest.fail(f"no {what}; {plc.states}")


def test_a_camera_that_is_away_is_seen_by_the_plc(line, plc, open_camera):
    """Its frames have the size of no part, which is nothing to this test."""
    camera = open_camera()
    times = {"open_timeout_ms": 5000, "read_timeout_ms": 60_000, "reconnect_ms": 200}
    settings = {"kind": "stream", "url": camera.url, "trigger": "every_frame", **times}
    camera.send(1)  # for the check before the start
    line.start("--set", f"camera={json.dumps(settings)}")
    show_until(camera, plc, lambda seen: seen.payloads, "verdict")

    camera.close()

    status = plc.wait_for_status("DEGRADED", "trying again")
    assert f"camera http://127.0.0.1:{camera.port}" in status["cause"]
    again = open_camera(camera.port)
    show_until(again, plc, lambda seen: seen.states[-1] == "RUNNING", "end of the alarm")
    assert line.stop() == 0
