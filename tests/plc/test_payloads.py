"""Payloads against their schemas, and the page that describes them against the code."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import jsonschema
import pytest

from pipeline.control import Answer, Command, LineState
from pipeline.messages import Reason
from pipeline.sequences import Sequences
from plc.incoming import VALUES, BadCommandError, read_command
from plc.payloads import (
    HeartbeatPayload,
    encode,
    reject_payload,
    response_payload,
    rfc3339,
    status_payload,
    undelivered_payload,
    verdict_payload,
    will_payload,
)
from plc.schemas import PAYLOADS, schema_text, write_schemas

DOCS = Path(__file__).resolve().parents[2] / "docs"


def check(name, payload):
    schema = json.loads((DOCS / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads(encode(payload)) if not isinstance(payload, dict) else payload
    jsonschema.Draft202012Validator(schema).validate(document)
    return document


@pytest.mark.parametrize("reason", list(Reason))
def test_every_verdict_fits_the_schema(rig, reason):
    document = check("verdict", verdict_payload(rig.record(1, reason)))
    evaluation = {"PASS": 1, "REJECT": 2, "UNINSPECTED": 3}[document["verdict"]]
    assert document["resultEvaluation"] == evaluation
    assert document["reasonCode"] == reason


def test_unknown_times_and_scores_are_null(rig):
    nothing = {"captured_wall_ns": None, "deadline_wall_ns": None, "latency_ms": None}
    document = check("verdict", verdict_payload(rig.record(1, Reason.NOT_ANNOUNCED, **nothing)))
    keys = ("capturedAt", "deadline", "latencyMs", "score")
    assert [document[key] for key in keys] == [None] * 4


@pytest.mark.parametrize("state", list(LineState))
def test_every_status_fits_the_schema(rig, state):
    assert check("status", status_payload(3, rig.order(state)))["state"] == state


def test_will_fits_the_schema():
    assert check("status", will_payload(3, "s"))["state"] == "OFFLINE"


@pytest.mark.parametrize(
    ("name", "key", "wrong"),
    [
        ("verdict", "verdict", "MAYBE"),
        ("verdict", "reasonCode", "BAD_LUCK"),
        ("verdict", "decidedAt", "2026-11-22 07:15:02"),
        ("verdict", "sequence", 0),
        ("verdict", "schema", "inspection.verdict/2"),
        ("status", "state", "ASLEEP"),
    ],
)
def test_schema_refuses(rig, name, key, wrong):
    payload = (
        verdict_payload(rig.record())
        if name == "verdict"
        else status_payload(3, rig.order(LineState.RUNNING))
    )
    document = json.loads(encode(payload))
    with pytest.raises(jsonschema.ValidationError):
        check(name, {**document, key: wrong})
    del document[key]
    with pytest.raises(jsonschema.ValidationError):
        check(name, document)


def test_times_are_cut_to_milliseconds():
    assert rfc3339(1_795_331_702_999_999_999) == "2026-11-22T07:15:02.999Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"


def test_schema_files_are_up_to_date(tmp_path):
    write_schemas(tmp_path)
    for name in PAYLOADS:
        text = (DOCS / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8")
        assert text == schema_text(name) == (tmp_path / f"{name}.schema.json").read_text()


@pytest.mark.parametrize("reason", [Reason.ABOVE_THRESHOLD, Reason.DEADLINE])
def test_a_reject_fits_the_schema(rig, reason):
    document = check("reject", reject_payload(rig.record(1, reason), 1812))
    assert (document["remainingMs"], document["reasonCode"]) == (1812, reason)


def test_there_is_no_reject_for_a_pass_or_without_a_deadline(rig):
    assert reject_payload(rig.record(1, Reason.BELOW_THRESHOLD), 5) is None
    assert reject_payload(rig.record(1, Reason.NOT_ANNOUNCED, deadline_wall_ns=None), 5) is None


@pytest.mark.parametrize("state", list(LineState))
def test_every_heartbeat_and_response_fits_its_schema(state):
    check("heartbeat", HeartbeatPayload(3, "s", 1, state, 0, 0, 0))
    for accepted in (True, False):
        answer = Answer("a", Command.PAUSE, accepted, "", state, 0)
        check("response", response_payload(3, "s", answer))


def test_a_summary_fits_its_schema():
    undelivered, unconfirmed = Sequences([(4, 6)]), Sequences([(2, 2)])
    document = check("undelivered", undelivered_payload(3, "s", undelivered, unconfirmed, 0))
    assert document["count"] == 4
    assert document["unconfirmed"] == [{"first": 2, "last": 2}]


@pytest.mark.parametrize("command", [*Command])
@pytest.mark.parametrize(
    "given", [(), *(tuple(s) for n in (1, 2) for s in combinations(VALUES, n))]
)
def test_the_schema_of_commands_allows_what_is_read(command, given):
    values = {"recipe": "cap_b", "batch": "B-1", "position": 1.5, "speed": 2.0}
    payload = {"schema": "inspection.command/1", "id": "a", "command": command.value}
    payload |= {key: values[key] if key in given else None for key in VALUES if key != "batch"}
    payload |= {key: values[key] for key in given}
    schema = json.loads(schema_text("command"))
    allowed = jsonschema.Draft202012Validator(schema).is_valid(payload)
    try:
        read_command(json.dumps(payload).encode(), 0)
    except BadCommandError:
        assert not allowed
    else:
        assert allowed
