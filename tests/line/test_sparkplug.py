"""A whole line that speaks Sparkplug B with a real broker and a host of another's protobuf."""

from __future__ import annotations

import os
import signal

import pytest

from sparkplug_host import SECTION, Host

pytestmark = pytest.mark.slow
NAMES = ", ".join(f"{key}: {name}" for key, name in SECTION.items())
SETTINGS = {
    "mqtt.payload": "sparkplug",
    "mqtt.sparkplug": f"{{{NAMES}}}",
    "timing.deadline_ms": "30000",
    "camera.rate_hz": "4",
}


@pytest.fixture
def host(line, mosquitto):
    """A host that is there before the line starts."""
    mosquitto(line.port).start()
    watcher = Host(line.port, wait_s=60.0)
    watcher.wait_subscribed()
    yield watcher
    watcher.close()


@pytest.fixture
def running(line, host):
    broker = f"{{kind: external, host: 127.0.0.1, port: {line.port}}}"
    settings = {"mqtt.broker": broker, **SETTINGS}
    line.start(*(word for key, value in settings.items() for word in ("--set", f"{key}={value}")))
    host.wait(lambda host: host.tags.get("status/state") == "RUNNING", "RUNNING")
    return line


def told(host):
    """Every sequence that has a verdict, or was named as undelivered."""
    found = {values["sequence"] for values in host.data("verdict")}
    for summary in host.data("undelivered"):
        for item in (*summary["undelivered"], *summary["unconfirmed"]):
            found |= set(range(item["first"], item["last"] + 1))
    return found


def wait_for_inspected(host, count):
    """Until this many more verdicts that rest on a score have come."""
    start = len(host.data("verdict"))
    host.wait(
        lambda host: (
            sum(values["verdict"] != "UNINSPECTED" for values in host.data("verdict")[start:])
            >= count
        ),
        f"{count} inspected parts",
    )


def test_a_line_is_an_edge_node(running, host, verify):
    assert host.kinds[:2] == ["NBIRTH", "DBIRTH"]
    wait_for_inspected(host, 3)

    host.ask_for_rebirth()
    host.wait(lambda host: host.kinds.count("NBIRTH") == 2 and host.device_alive, "second birth")
    assert (host.born, host.tags["status/state"]) == (0, "RUNNING")

    host.write(command__id="plc-1", command__pause=True)
    response = host.next_data("response")
    assert (response["id"], response["result"]) == ("plc-1", "accepted")
    host.wait(lambda host: host.tags["status/state"] == "PAUSED", "PAUSED")
    host.write(command__resume=True)
    assert host.next_data("response", 2)["result"] == "accepted"
    wait_for_inspected(host, 3)

    assert running.stop() == 0
    host.wait(lambda host: not host.alive, "death")
    assert host.data("status")[-1]["state"] == "HALTED"
    assert host.kinds[-2:] == ["DDEATH", "NDEATH"]
    records = verify(running)
    verdicts = {values["sequence"]: values["verdict"] for values in host.data("verdict")}
    assert verdicts == {record.part.sequence: record.verdict for record in records}
    assert len(host.data("verdict")) == len(records)
    assert host.faults == []


def test_a_killed_process_is_a_death_and_costs_no_part(running, host, verify):
    wait_for_inspected(host, 3)

    os.kill(running.stage_pid("decision"), signal.SIGKILL)

    host.wait(lambda host: "NDEATH" in host.kinds, "death certificate")
    host.wait(lambda host: host.device_alive and host.born == 1, "next birth")
    running.wait_for("RUNNING: all processes are ready again")
    wait_for_inspected(host, 3)
    assert running.stop() == 0
    host.wait(lambda host: not host.alive, "death")
    records = verify(running)
    assert {record.part.sequence for record in records} == told(host)
    by_part = {record.part.sequence: record.verdict for record in records}
    for values in host.data("verdict"):
        assert values["verdict"] == by_part[values["sequence"]]
    assert host.faults == []
