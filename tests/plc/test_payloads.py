"""Payloads against their schemas, and the page that describes them against the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from pipeline.control import LineState
from pipeline.messages import REASON_TEXT, Reason, Verdict
from plc.payloads import encode, rfc3339, status_payload, verdict_payload, will_payload
from plc.schemas import PAYLOADS, schema_text, write_schemas

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "mqtt.md").read_text(encoding="utf-8")


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


def test_page_explains_every_reason():
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| [A-Z]+ \|$", PAGE, re.MULTILINE))
    assert rows == {reason.value: text for reason, text in REASON_TEXT.items()}


def test_page_names_every_verdict_and_state():
    for name in (*Verdict, *LineState, "OFFLINE"):
        assert f"| `{name}` |" in PAGE


def test_examples_of_the_page_are_real(rig):
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    version = shown[2]["version"]
    decided = rig.record().deadline_wall_ns - 20_000_000
    real = [
        verdict_payload(rig.record()),
        verdict_payload(
            rig.record(124, Reason.DEADLINE, decided_wall_ns=decided, latency_ms=1980.0)
        ),
        status_payload(3, rig.order(LineState.RUNNING)),
        will_payload(3, "20261122-071502-3f9a"),
    ]
    documents = [json.loads(encode(payload)) for payload in real]
    assert shown == [
        {**document, "version": version} if "version" in document else document
        for document in documents
    ]
