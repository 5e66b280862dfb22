"""The simulated PLC against the line's own client, through real brokers."""

from __future__ import annotations

import json
import time

import pytest

from pipeline.config_file import line_file, load_line
from pipeline.control import Answer, Command, LineState
from pipeline.errors import ConfigError
from pipeline.messages import Reason
from plc import simulator as module
from plc.access import access_of
from plc.credentials import Credentials, plc_access
from plc.simulator import PlcSimulator
from plc.simulator_command import main, read_words

S = 1_000_000_000


@pytest.fixture
def config(broker):
    address = {"kind": broker.kind, "port": broker.port}
    if broker.kind == "external":
        address["host"] = "127.0.0.1"
    mqtt = {
        "broker": address,
        "topic_root": "acme/plant-1/assembly/line-3/inspection",
        "heartbeat_s": 0.1,
        "ack_window_s": 5.0,
    }
    return load_line(line_file(3), [("mqtt", mqtt)])


@pytest.fixture
def plc(config):
    simulators = []

    def start(**keys):
        simulator = PlcSimulator(config, access_of(config.mqtt), **keys)
        simulators.append(simulator)
        simulator.start()
        return simulator

    yield start
    for simulator in simulators:
        simulator.close()


@pytest.fixture
def line(config, rig):
    client = rig.line(config.mqtt)
    client.set_status(rig.order(LineState.RUNNING))
    return client


def record(rig, sequence, reason=Reason.BELOW_THRESHOLD, in_ms=300):
    """A verdict whose part is at the gate soon, by all clocks."""
    wall_ns = time.time_ns()
    return rig.record(
        sequence,
        reason,
        decided_wall_ns=wall_ns,
        captured_wall_ns=wall_ns - S,
        deadline_wall_ns=wall_ns + in_ms * 1_000_000,
        deadline_monotonic_ns=time.monotonic_ns() + in_ms * 1_000_000,
    )


def work(rig, simulator, line, until, sequence=0, settled=0):
    rig.until(lambda: line.tick(sequence, settled) or simulator.step() or until())


def test_every_part_has_its_gate(line, plc, rig):
    simulator = plc()
    work(rig, simulator, line, lambda: simulator.state == "RUNNING")
    assert line.publish_verdict(record(rig, 1))
    assert line.publish_verdict(record(rig, 2, Reason.ABOVE_THRESHOLD))
    assert line.publish_verdict(record(rig, 3, Reason.STAGE_FAULT))
    work(rig, simulator, line, lambda: simulator.register.behind == 3, 3, 3)
    report = simulator.report()
    assert (report.gate.passed, report.gate.right, report.gate.silent) == (1, 2, 0)
    assert (report.gate.wrong, report.gate.late, report.acknowledged) == (0, 0, 2)
    assert report.heartbeats > 0
    work(rig, simulator, line, lambda: not line._acks._due_s)


def test_a_part_that_is_only_counted_is_rejected_on_silence(line, plc, rig):
    simulator = plc()
    simulator.register.belt_s = 0.2
    work(rig, simulator, line, lambda: simulator.report().heartbeats)
    work(rig, simulator, line, lambda: simulator.register.behind == 4, 4, 4)
    assert simulator.report().gate.silent == 4


def test_a_command_is_repeated_until_it_is_answered_and_acts_once(line, plc, rig, monkeypatch):
    monkeypatch.setattr(module, "REPEAT_S", 0.1)
    simulator = plc()
    id_ = simulator.command(Command.NEXT_BATCH, batch="B-7")
    work(rig, simulator, line, lambda: line.requests)
    (request,) = line.requests
    assert (request.id, request.batch) == (id_, "B-7")
    repeated_s = time.monotonic() + 0.3
    work(rig, simulator, line, lambda: time.monotonic() > repeated_s)
    assert len(line.requests) == 1
    line.answer([Answer(id_, Command.NEXT_BATCH, True, "", LineState.RUNNING, 0)])
    work(rig, simulator, line, lambda: simulator.idle)
    (response,) = simulator.report().responses
    assert (response["id"], response["result"]) == (id_, "accepted")


def test_an_encoder_is_sent_and_its_answers_are_no_news(line, plc, rig):
    simulator = plc(speed=250.0)
    work(rig, simulator, line, lambda: line.requests)
    (request,) = line.requests
    assert request.encoder.speed == 250.0
    age_ns = time.monotonic_ns() - request.encoder.at_monotonic_ns
    assert 0 <= age_ns < 10 * S
    line.answer([Answer(request.id, Command.SET_ENCODER, True, "", LineState.RUNNING, 0)])
    work(rig, simulator, line, lambda: simulator.idle)
    assert simulator.report().responses == []


def test_a_silent_line_is_noticed_and_its_return_as_well(line, plc, rig):
    said = []
    simulator = plc(say=said.append)
    work(rig, simulator, line, lambda: simulator.report().heartbeats > 1)
    rig.until(lambda: simulator.step() or simulator.report().silences)
    assert said[-1] == "no heartbeat for 0.3 s"
    beats = simulator.report().heartbeats
    work(rig, simulator, line, lambda: simulator.report().heartbeats > beats)
    assert simulator.report().silences == 1


def test_it_is_over_when_the_line_has_halted(line, plc, rig):
    simulator = plc()
    work(rig, simulator, line, lambda: simulator.state == "RUNNING")
    assert line.publish_verdict(record(rig, 1))
    work(rig, simulator, line, lambda: simulator.register.on_belt, 1, 1)
    line.close(rig.order(LineState.HALTED))
    rig.until(lambda: simulator.step() or simulator.state == "HALTED")
    rig.until(lambda: simulator.step() or simulator.over)
    assert simulator.report().gate.passed == 1


def test_what_it_cannot_read_is_counted(line, plc, rig, broker):
    simulator = plc()
    work(rig, simulator, line, lambda: simulator.state == "RUNNING")
    rig.plc(broker.port).say("verdict", b"\xff?")
    work(rig, simulator, line, lambda: simulator.report().unreadable)


def test_the_command_reports_as_text_and_json(line, rig, config, tmp_path, capsys):
    file = tmp_path / "seen.json"
    broker = config.mqtt.broker
    arguments = ["--line", "3", "--seconds", "0.5", "--json", str(file), "--send", "0.1:pause"]
    settings = {
        "mqtt.broker": broker.model_dump_json(exclude_none=True),
        "mqtt.topic_root": config.mqtt.topic_root,
    }
    for key, value in settings.items():
        arguments += ["--set", f"{key}={value}"]
    assert main(arguments) == 0
    report = json.loads(file.read_text())
    assert report["states"] == ["RUNNING"]
    assert set(report["gate"]) >= {"parts", "passed", "right", "silent", "wrong", "late"}
    printed = capsys.readouterr().out
    assert "parts seen 0" in printed
    assert "states: RUNNING" in printed
    rig.until(lambda: line.requests)
    assert line.requests[0].command is Command.PAUSE


def test_a_line_of_which_nothing_is_heard_is_no_success(free_port, tmp_path, capsys):
    file = tmp_path / "seen.json"
    arguments = ["--line", "3", "--seconds", "0.1", "--json", str(file)]
    assert main([*arguments, "--set", f"mqtt.broker.port={free_port}"]) == 1
    said = capsys.readouterr()
    assert "no message of line 3 came that could be read: is it running" in said.err
    assert "parts seen 0" in said.out
    assert json.loads(file.read_text())["heartbeats"] == 0


@pytest.mark.parametrize(
    ("text", "command", "values"),
    [
        ("pause", Command.PAUSE, {}),
        (" select_recipe cap_b ", Command.SELECT_RECIPE, {"recipe": "cap_b"}),
        ("next_batch B 7", Command.NEXT_BATCH, {"batch": "B 7"}),
        ("set_encoder 12.5 250", Command.SET_ENCODER, {"position": 12.5, "speed": 250.0}),
    ],
)
def test_commands_in_words(text, command, values):
    assert read_words(text) == (command, values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected one of start, stop"),
        ("explode", "expected one of start, stop"),
        ("pause now", "pause"),
        ("select_recipe", "recipe"),
        ("set_encoder 1", "expected two numbers, POSITION SPEED"),
        ("set_encoder 1 2 3", "expected two numbers, POSITION SPEED"),
        ("set_encoder a b", "expected two numbers, POSITION SPEED"),
    ],
)
def test_words_that_are_no_command(text, expected, capsys):
    with pytest.raises(ConfigError, match=f"{expected}.*plc_simulator --help"):
        read_words(text)
    assert main(["--line", "3", "--send", f"5:{text}"]) == 2
    assert "plc_simulator --help" in capsys.readouterr().err


def test_sparkplug_is_not_for_the_simulator():
    names = {"group": "acme", "edge_node": "line-3"}
    spoken = load_line(line_file(3), [("mqtt.payload", "sparkplug"), ("mqtt.sparkplug", names)])
    with pytest.raises(ConfigError, match="reads JSON only"):
        plc_access(spoken, Credentials())
