"""What a run came to: the JSON that programs read, and the lines that people read."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from pipeline.control import LineStatistics, Percentiles, StageLoad, TruthCount
from pipeline.errors import ConfigError
from pipeline.messages import Reason, Verdict
from pipeline.summary import RunSummary
from pipeline.telemetry import GpuReading, GpuSummary, Span

STATISTICS = LineStatistics(
    announced=13,
    verdicts={Verdict.PASS: 9, Verdict.REJECT: 3, Verdict.UNINSPECTED: 1},
    reasons={Reason.DEADLINE: 1, Reason.BELOW_THRESHOLD: 9, Reason.ABOVE_THRESHOLD: 3},
    latency_ms={"end_to_end": Percentiles(120.4, 180.0, 240.6), "decision": Percentiles(1, 2, 3)},
    parts_per_second=5.75,
    truth=TruthCount(escapes=1, overkill=2, defective=4, good=9),
    bundle_id="0123456789abcdef",
    calibration_id="fedcba987654",
)
LOAD = StageLoad(
    {1: 4, 8: 20},
    3,
    Percentiles(30.5, 31, 32),
    None,
    {"reconstruction": Percentiles(1.5, 2, 3)},
    {"reconstruction": Percentiles(50, 60, 70)},
    ((1, 60.5), (8, 333.0)),
)
SUMMARY = RunSummary(
    3, "20261122-071502-3f9a", STATISTICS, {"reconstruction": LOAD}, (), {"decision": 2}, 4
)
NOTHING = RunSummary(
    3, "s", LineStatistics(0, dict.fromkeys(Verdict, 0), {}, {}, 0.0, None, "b", "c")
)


def test_the_json_has_the_agreed_keys_and_values(tmp_path: Path) -> None:
    SUMMARY.write(tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == {
        "line": 3,
        "session": "20261122-071502-3f9a",
        "parts": 13,
        "verdicts": {"PASS": 9, "REJECT": 3, "UNINSPECTED": 1},
        "reasons": {"DEADLINE": 1, "BELOW_THRESHOLD": 9, "ABOVE_THRESHOLD": 3},
        "latency_ms": {
            "end_to_end": {"p50": 120.4, "p90": 180.0, "p99": 240.6},
            "decision": {"p50": 1, "p90": 2, "p99": 3},
        },
        "parts_per_second": 5.75,
        "bundle": "0123456789abcdef",
        "calibration": "fedcba987654",
        "truth": {"escapes": 1, "overkill": 2, "defective": 4, "good": 9},
        "stages": {
            "reconstruction": {
                "batches": {"1": 4, "8": 20},
                "refused": 3,
                "wait_ms": {"p50": 30.5, "p90": 31, "p99": 32},
                "compute_ms": None,
                "copy_ms": {"reconstruction": {"p50": 1.5, "p90": 2, "p99": 3}},
                "device_ms": {"reconstruction": {"p50": 50, "p90": 60, "p99": 70}},
                "costs_ms": [[1, 60.5], [8, 333.0]],
            }
        },
        "gpus": [],
        "refused": {"decision": 2},
        "unrecorded": 4,
        "lost": 0,
    }


def test_a_run_without_parts_has_every_key_too() -> None:
    summary = NOTHING.to_json()
    assert set(summary) == set(SUMMARY.to_json())
    assert summary["verdicts"] == {"PASS": 0, "REJECT": 0, "UNINSPECTED": 0}
    assert summary["truth"] is None
    assert NOTHING.text() == "Line 3: 0 parts, 0 PASS, 0 REJECT, 0 UNINSPECTED, 0.0 parts/s"


def test_statistics_that_came_over_the_wire_give_the_same_summary() -> None:
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(STATISTICS), type=LineStatistics)
    again = msgspec.structs.replace(SUMMARY, statistics=read)
    assert again.to_json() == SUMMARY.to_json()


def test_the_text_says_it_in_five_lines() -> None:
    assert SUMMARY.text().splitlines() == [
        "Line 3: 13 parts, 9 PASS, 3 REJECT, 1 UNINSPECTED, 5.8 parts/s",
        "  capture to verdict p50 120 ms, p90 180 ms, p99 241 ms",
        "  BELOW_THRESHOLD 9, ABOVE_THRESHOLD 3, DEADLINE 1",
        "  truth: 4 defective parts, 1 of them passed (escapes); 9 good parts, 2 of them rejected "
        "(overkill)",
        "  4 verdicts are not in the reject log yet: the next start records them from the ledger",
    ]


def test_verdicts_that_are_lost_are_told_from_those_that_come_later() -> None:
    summary = msgspec.structs.replace(SUMMARY, lost=74)
    assert summary.to_json()["lost"] == 74
    assert summary.text().splitlines()[-1] == (
        "  74 verdicts could not be written to the ledger and will not be in the reject log; free "
        "space on its disk, or mend it"
    )


def test_a_file_that_cannot_be_written_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--summary .*cannot be written") as caught:
        SUMMARY.write(tmp_path / "nowhere" / "out.json")
    assert caught.value.exit_code == 2


def test_a_gpu_stands_in_the_text_and_in_the_json() -> None:
    gpu = GpuSummary(
        GpuReading("NVIDIA H200", use_percent=70), 30, {"use_percent": Span(64.0, 98.0)}, {}
    )
    found = msgspec.structs.replace(SUMMARY, gpus=(gpu,))
    assert "  NVIDIA H200: 64 % (at most 98)" in found.text().splitlines()
    (told,) = json.loads(json.dumps(found.to_json()))["gpus"]
    assert told["last"]["use_percent"] == 70
    assert told["spans"]["use_percent"] == {"mean": 64.0, "most": 98.0}
