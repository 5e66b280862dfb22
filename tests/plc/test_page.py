"""docs/plc.md against the code: who reads it once can rely on what is checked here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from pipeline.control import Answer, Command, LineState
from pipeline.messages import REASON_TEXT, Reason, Verdict
from pipeline.sequences import Sequences
from pipeline.states import TRANSITIONS, allowed_in
from plc import access_list
from plc.payloads import (
    HeartbeatPayload,
    Identity,
    encode,
    reject_payload,
    response_payload,
    status_payload,
    undelivered_payload,
    verdict_payload,
    will_payload,
)
from plc.schemas import PAYLOADS
from plc.topics import WRITTEN_BY_LINE, WRITTEN_BY_PLC

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "plc.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
PROGRAM, SENDER = re.findall(r"```iecst\n(.*?)```", PAGE, re.DOTALL)
IDENTITY = Identity("cap_b", "b-5d41402abc4b", "c-20261120-2")


def schema(name):
    return json.loads((DOCS / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))


def kind(example):
    return re.fullmatch(r"inspection\.(\w+)/1", example["schema"]).group(1)


@pytest.mark.parametrize("example", EXAMPLES, ids=kind)
def test_every_example_fits_its_schema(example):
    jsonschema.Draft202012Validator(schema(kind(example))).validate(example)


def test_every_payload_has_an_example():
    assert {kind(example) for example in EXAMPLES} == set(PAYLOADS)


def test_the_lines_examples_are_what_it_says(rig):
    order = rig.order(LineState.RUNNING, "all processes are ready")
    shown = [example for example in EXAMPLES if kind(example) in WRITTEN_BY_LINE]
    rejected = rig.record(
        recipe="cap_b",
        batch="B-2026-117",
        encoder_position=412.04,
        reject_position=812.04,
        has_images=True,
    )
    decided_ns = rig.record().deadline_wall_ns - 20_000_000
    late = rig.record(124, Reason.DEADLINE, decided_wall_ns=decided_ns, latency_ms=1980.0)
    refused = Answer(
        "plc-7-000042",
        Command.SELECT_RECIPE,
        False,
        "select_recipe is possible in READY and PAUSED; the line is RUNNING",
        LineState.RUNNING,
        order.since_wall_ns,
    )
    real = [
        verdict_payload(rejected, 1812, 86_412_077),
        verdict_payload(late, 19, 86_413_870),
        reject_payload(rejected, 1812, 86_412_077),
        status_payload(3, rig.with_batch(order, "B-2026-117"), IDENTITY, sequence=123),
        will_payload(3, order.session),
        HeartbeatPayload(3, order.session, 4711, LineState.RUNNING, 131, 122, 86_412_410),
        response_payload(3, order.session, refused),
        undelivered_payload(
            3, order.session, Sequences([(119, 126)]), Sequences([(118, 118)]), order.since_wall_ns
        ),
    ]
    version = status_payload(3, order).version
    for example in shown:
        if "version" in example:
            example["version"] = version
    assert shown == [json.loads(encode(payload)) for payload in real]


def test_page_explains_every_reason():
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| [A-Z]+ \|$", PAGE, re.MULTILINE))
    assert rows == {reason.value: text for reason, text in REASON_TEXT.items()}


def test_page_names_every_verdict_and_state():
    for name in (*Verdict, *LineState, "OFFLINE"):
        assert f"| `{name}` |" in PAGE


def test_page_names_every_topic_and_who_writes_it():
    rows = re.findall(r"^\| `(\w+)` \| (line|PLC[^|]*) \|", PAGE, re.MULTILINE)
    assert {name for name, who in rows if who == "line"} == set(WRITTEN_BY_LINE)
    assert {name for name, who in rows if who != "line"} == set(WRITTEN_BY_PLC)


def test_page_says_where_each_command_is_possible():
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\| ([A-Z, ]+) \| [^|]+ \|$", PAGE, re.MULTILINE)
    assert {name: set(states.split(", ")) for name, _, states in rows} == {
        command.value: set(allowed_in(command)) for command in Command
    }


def test_the_picture_of_the_states_is_the_table():
    (picture,) = re.findall(r"stateDiagram-v2\n(.*?)```", PAGE, re.DOTALL)
    drawn = set(re.findall(r"^    ([A-Z]+) --> ([A-Z]+):", picture, re.MULTILINE))
    table = {
        (state.value, to.value)
        for state, moves in TRANSITIONS.items()
        for to in moves.values()
        if to is not state
    }
    assert drawn == table


def test_the_program_reads_keys_that_there_are():
    keys = set(re.findall(r"Json\w+\(sPayload, '(\w+)'\)", PROGRAM))
    assert {"session", "sequence", "verdict", "state", "simulated"} <= keys
    known = set()
    for name in ("verdict", "reject", "status", "heartbeat"):
        (body,) = (
            item
            for item in schema(name)["$defs"].values()
            if "schema" in item.get("properties", {})
        )
        known |= set(body["properties"])
    assert keys <= known
    topics = set(re.findall(r"sTopic = '(\w+)'", PROGRAM)) | set(
        re.findall(r"MqttPublish\('(\w+)'", PROGRAM)
    )
    assert topics == {"status", "heartbeat", "verdict", "reject", "ack"}


def test_the_program_that_sends_commands_reads_keys_of_the_response():
    keys = set(re.findall(r"Json\w+\(sPayload, '(\w+)'\)", SENDER))
    assert keys == {"id", "result", "reason"}
    assert keys <= set(schema("response")["$defs"]["ResponsePayload"]["properties"])


def test_the_access_list_of_the_page_is_what_the_command_prints(capsys):
    (command,) = re.findall(r"^python -m plc\.access_list (.*)$", PAGE, re.MULTILINE)
    assert access_list.main(command.split()) == 0
    assert f"```\n{capsys.readouterr().out}```" in PAGE


def test_links_of_the_page_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (DOCS / target).exists(), target
