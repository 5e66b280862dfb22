"""The benchmark prints what it measured: a real line against a real loop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def test_the_benchmark_compares_line_and_bare_loop(tmp_path):
    report = tmp_path / "line.json"
    command = [sys.executable, "-m", "benchmarks.line", "--set"]
    command += ["mqtt.broker.port=18873", "--parts", "40", "--rounds", "1", "--json", str(report)]

    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )

    assert result.returncode == 0, result.stderr
    figures = json.loads(report.read_text())
    ratio = figures["line"][0]["parts_per_second"] / figures["bare"][0]["images_per_second"]
    assert f"{ratio:.2f}" in result.stdout
    assert figures["line"][0]["parts"] == 40
    assert figures["half_load"]["latency_ms"]["end_to_end"]["p99"] > 0
