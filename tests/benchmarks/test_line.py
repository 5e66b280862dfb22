"""The benchmarks of a line print and write what they measured: real lines, real loops."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.line_choice import LineChoice
from benchmarks.line_run import run_line, watched_line
from benchmarks.shown_camera import Phase
from calibration.record import save_and_activate
from calibration_records import calibration_record
from pipeline.errors import LineError
from stages.bundle import load_bundle
from stages.device import compute_dtype

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def benchmark(report: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One round of the benchmark on a port of its own."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.line", "--set", f"mqtt.broker.port={port}"]
    command += ["--parts", "40", "--rounds", "1", "--json", str(report), *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )


def figures(report: Path) -> dict[str, Any]:
    return json.loads(report.read_text())


@pytest.fixture
def small_line(tiny_line: Path, tmp_path: Path) -> Path:
    """The tiny line with a calibration; its configuration file."""
    folder = tmp_path / "line"
    shutil.copytree(tiny_line.parent, folder)
    dtype = str(compute_dtype(torch.device("cpu"))).removeprefix("torch.")
    bundle_id = load_bundle(folder / "bundle").id
    save_and_activate(folder / "calibration", calibration_record(bundle_id=bundle_id, dtype=dtype))
    return folder / tiny_line.name


def test_the_benchmark_compares_line_and_bare_loop(tmp_path):
    report = tmp_path / "line.json"

    result = benchmark(report, "--loads", "80")

    assert result.returncode == 0, result.stderr
    found = figures(report)
    ratio = found["line"][0]["parts_per_second"] / found["bare"][0]["images_per_second"]
    assert f"{ratio:.2f}" in result.stdout
    assert found["ratios"]["line / bare loop"]["median"] == pytest.approx(ratio)
    assert found["line"][0]["parts"] == found["line_drawn_beforehand"][0]["parts"] == 40
    shown = found["line_drawn_beforehand"][0]["parts_per_second"]
    ratio = found["ratios"]["line, parts drawn beforehand / bare loop"]["median"]
    assert ratio == pytest.approx(shown / found["bare"][0]["images_per_second"])
    assert found["half_load"]["latency_ms"]["end_to_end"]["p99"] > 0
    assert [load["load_percent"] for load in found["loads"]] == [50, 80]
    for load in found["loads"]:
        (one,) = load["rounds"]
        assert one["mqtt_ms"]["parts"] + sum(one["uninspected"].values()) == 40
        decided = one["summary"]["latency_ms"]["end_to_end"]
        assert one["mqtt_ms"]["p50"] > 0.95 * decided["p50"]


def test_frames_of_another_size_reach_the_line(small_line, tmp_path):
    report = tmp_path / "sizes.json"

    result = benchmark(report, "--config", str(small_line), "--sizes", "0.1")

    assert result.returncode == 0, result.stderr
    (row,) = figures(report)["sizes"]
    assert row["name"] == "0.1 MP, 316 x 316"
    half = row["half_load"]  # of a rate that the tiny networks reach, and a busy machine may not
    assert half["mqtt_ms"]["parts"] + sum(half["uninspected"].values()) == 40
    assert f"{row['x_bare_loop']['median']:.2f}" in result.stdout


def test_an_overloaded_line_passes_nothing_late_and_answers_every_part(tmp_path):
    report = tmp_path / "overload.json"

    result = benchmark(report, "--overload", "4")

    (found,) = figures(report)["overload"]
    assert result.returncode == (1 if found["recovery_parts"] is None else 0), result.stderr
    assert found["inspected"] + sum(found["reasons"].values()) == found["parts"]
    assert (found["passed_late"], found["unheard"]) == (0, 0)
    assert found["offered_per_second"] > found["throughput"]


def test_a_line_that_cannot_start_says_why(tiny_line):
    with pytest.raises(LineError, match=r"ended before it (was ready|told its state)") as caught:
        run_line(LineChoice(tiny_line, (f"mqtt.broker.port={free_port()}",)), parts=1)
    assert "calibrate_line" in str(caught.value)


def test_a_camera_that_is_killed_ends_the_measurement(small_line):
    choice = LineChoice(small_line, (f"mqtt.broker.port={free_port()}",))
    with watched_line(choice, phases=[Phase(20.0, 100_000)]) as line:
        line.wait_for_verdicts(1)
        line.processes[1].kill()
        with pytest.raises(LineError, match="the camera ended by a fault"):
            line.finish()
    assert all(process.returncode is not None for process in line.processes)


def test_memory_is_read_and_judged(small_line, tmp_path):
    report = tmp_path / "endurance.json"
    limits = ("--memory-limit", "1", "--growth-limit", "900")

    result = benchmark(report, "--config", str(small_line), "--endurance", "40", *limits)

    found = figures(report)["endurance"]
    assert found["parts"] == [20, 40]
    growth = {one["name"]: one for one in found["growth"]}
    networks = {"reconstruction+segmentation", "reconstruction+segmentation.1"}
    assert {"supervisor", "broker", *networks, "decision", "all"} <= set(growth)
    each = [one["last"]["resident_mb"] for name, one in growth.items() if name != "all"]
    assert "from capture to the verdict at an MQTT reader" in result.stdout
    assert growth["all"]["last"]["resident_mb"] == pytest.approx(sum(each), rel=0.05)
    assert result.returncode == 1
    assert "MB, more than 1" in result.stderr
