"""Two runs compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.line_report import Finding, agreement, heading, ratios_content, read_ratios
from benchmarks.spread import Spread
from pipeline.errors import ConfigError

RATIO = Spread(0.90, 0.88, 0.91)


def test_ratios_survive_the_file(tmp_path: Path) -> None:
    file = tmp_path / "line.json"
    findings = [Finding({}, "", {"a": RATIO}), Finding({}, "", {"b": Spread(2.0, 2.0, 2.0)})]
    file.write_text(json.dumps({"ratios": ratios_content(findings)}), encoding="utf-8")
    assert read_ratios(file) == {"a": RATIO, "b": Spread(2.0, 2.0, 2.0)}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ratios": {"a": 1}}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "line.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="--json has written"):
        read_ratios(file)


def test_runs_within_a_tenth_agree_and_others_do_not() -> None:
    before = {"near": RATIO, "far": RATIO, "gone": RATIO}
    now = {"near": Spread(0.98, 0.9, 1.0), "far": Spread(0.70, 0.6, 0.8), "new": RATIO}
    found = agreement(before, now)
    assert found.content["apart"] == pytest.approx({"near": 0.0889, "far": 0.2222}, abs=1e-4)
    assert found.faults == ["far is 22 % from the earlier run, more than 10 %"]
    assert "8.9 %" in found.text


def test_runs_of_different_things_cannot_be_compared() -> None:
    (fault,) = agreement({"a": RATIO}, {"b": RATIO}).faults
    assert "no ratio in common" in fault


def test_the_heading_names_device_type_and_batch() -> None:
    text = heading({"device": "cuda:0", "dtype": "bfloat16", "batch": 16})
    assert text.endswith("networks on cuda:0 in bfloat16, batch 16")
