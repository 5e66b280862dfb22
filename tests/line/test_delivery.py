"""What the PLC is told when messages cannot go out: every part, by its verdict or by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pipeline.messages import Delivery

pytestmark = pytest.mark.slow
EXTERNAL = "mqtt.broker={{kind: external, host: 127.0.0.1, port: {}}}"
PATIENT = ("--set", "timing.deadline_ms=30000")


def everything_told(plc):
    """Whether each part that has its verdict is known to the PLC by now."""
    if not plc.said["heartbeat"]:
        return False
    newest = plc.said["heartbeat"][-1]
    return set(range(1, newest["settled"] + 1)) <= plc.told(newest["session"])


def test_what_a_dead_broker_did_not_pass_on_is_named_afterwards(line, plc, verify, mosquitto):
    broker = mosquitto(line.port)
    broker.start()
    line.start("--set", EXTERNAL.format(line.port), *PATIENT, "--set", "camera.rate_hz=4")
    plc.wait_for_inspected(3)

    broker.kill()
    line.wait_for("away since")
    line.wait_for("verdicts undelivered")
    broker.start()

    plc.wait_for_inspected(3)
    line_session = plc.payloads[-1]["session"]
    assert line.stop() == 0
    records = verify(line, plc)
    told = plc.told(line_session)
    missing = {record.part.sequence for record in records} - told
    newest = max(payload["sequence"] for payload in plc.payloads)
    # The subscriber connects again by itself, perhaps after the line: then the line's summary had
    # nobody to hear it, and what is missing lies before the first verdict that it heard again.
    assert not {sequence for sequence in missing if sequence > newest}
    lost = [p for p in plc.said["undelivered"] if p["session"] == line_session]
    assert lost or missing
    logged = {record.part.sequence: record.delivery for record in records}
    assert set(logged.values()) == {Delivery.DELIVERED, Delivery.UNDELIVERED}
    assert logged[newest] is Delivery.DELIVERED


@pytest.mark.parametrize("stage", ["decision", "broker"])
def test_a_killed_process_between_line_and_plc_costs_no_part(line, plc, verify, stage):
    line.start(*PATIENT, "--set", "camera.rate_hz=4")
    plc.wait_for_inspected(3)

    os.kill(line.stage_pid(stage), signal.SIGKILL)

    line.wait_for(f"DEGRADED: waiting for {stage}")
    line.wait_for("RUNNING: all processes are ready again")
    plc.wait_for_inspected(5)
    if stage == "decision":
        plc.wait(everything_told, "word of every part")
    assert line.stop() == 0
    verify(line, plc)


def test_a_denied_topic_degrades_the_line_until_it_is_allowed(line, plc, mosquitto, tmp_path):
    rights = Path(tmp_path / "acl")
    root = "demo/plant-1/finishing/line-3/inspection"
    allowed = "\n".join(
        f"topic readwrite {root}/{name}"
        for name in ("status", "heartbeat", "undelivered", "command", "response", "ack", "reject")
    )
    rights.write_text(f"{allowed}\ntopic read {root}/verdict\n")
    broker = mosquitto(line.port, f"acl_file {rights}")
    broker.start()

    line.start("--set", EXTERNAL.format(line.port), *PATIENT)

    line.wait_for(r"DEGRADED: MQTT broker denies .* to publish to .*/verdict")
    status = plc.wait_for_status("DEGRADED", "denies")
    assert "/verdict" in status["cause"]
    plc.wait(lambda seen: len(seen.said["undelivered"]) > 0, "named parts")
    assert plc.payloads == []

    rights.write_text(f"{allowed}\ntopic readwrite {root}/verdict\n")
    broker.send(signal.SIGHUP)

    plc.wait_for_status("RUNNING", "the alarm is over")
    plc.wait_for_inspected(2)
    assert line.stop() == 0


def test_a_silent_plc_degrades_the_line(line, plc):
    line.start("--set", "mqtt.ack_window_s=0.5", "--set", "camera.defect_share=1")
    plc.wait_for_inspected(1)

    status = plc.wait_for_status("DEGRADED", "has not acknowledged the reject of part")

    assert "see that it runs" in status["cause"]
    assert line.stop() == 0
