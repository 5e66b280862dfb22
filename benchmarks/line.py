"""Throughput of the whole line against the same networks in a bare loop, measured in one run.

    make bench
    python -m benchmarks.line --line 3 --parts 400 --rounds 3 --json line.json

Each round runs the bare loop and then the line as its user does (`run_line`), with the camera as
fast as the line takes its parts; rounds alternate, so that a machine whose speed drifts is fair to
both. Then the line runs once at half of its throughput, for latencies that a takt time can rely on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.command_line import config_path, line_parser, load_arguments_line, run_command
from pipeline.config import LineConfig
from pipeline.errors import ConfigError, LineError

ROOT = Path(__file__).resolve().parent.parent
DEMONSTRATION = 3
"""The line with a simulated camera and a shipped model."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = line_parser("benchmarks.line", __doc__ or "", default_line=DEMONSTRATION)
    parser.add_argument("--parts", type=int, default=400, help="parts of each run of the line")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of bare loop and line")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON")
    options = parser.parse_args(arguments)
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    config = load_arguments_line(options)
    if config.camera.kind != "simulated":
        raise ConfigError("the benchmark needs a line with a simulated camera")
    bare, lines = [], []
    for turn in range(1, options.rounds + 1):
        bare.append(_bare(options, config))
        lines.append(_line(options, options.parts, None))
        print(
            f"round {turn}: bare loop {bare[-1]['images_per_second']:.1f}/s, "
            f"line {lines[-1]['parts_per_second']:.1f}/s",
            file=sys.stderr,
        )
    full_rate = statistics.median(run["parts_per_second"] for run in lines)
    half = _line(options, max(40, options.parts // 4), full_rate / 2)
    report = {"bare": bare, "line": lines, "half_load": half, "machine": _machine()}
    print(_text(bare, lines, half, full_rate))
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _bare(options: argparse.Namespace, config: LineConfig) -> dict[str, Any]:
    batches = max(5, options.parts // config.batch.size // 2)
    command = ["-m", "benchmarks.bare_loop", "--batches", str(batches)]
    output = _run([*command, *_line_arguments(options)], _environment())
    measured: dict[str, Any] = json.loads(output.splitlines()[-1])
    return measured


def _line(options: argparse.Namespace, parts: int, rate_hz: float | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        summary = Path(folder) / "summary.json"
        settings = {
            "data_folder": f"{folder}/data",
            "run_folder": f"{folder}/run",
            "camera.rate_hz": "null" if rate_hz is None else f"{rate_hz:.3f}",
            "timing.deadline_ms": 60_000,
        }
        command = [str(ROOT / "run_line.py"), *_line_arguments(options), "--plain"]
        command += ["--parts", str(parts), "--summary", str(summary)]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        _run(command, dict(os.environ))
        measured: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
    uninspected = measured["verdicts"]["UNINSPECTED"]
    if uninspected:
        raise LineError(f"{uninspected} parts were not inspected: {measured['reasons']}")
    return measured


def _line_arguments(options: argparse.Namespace) -> list[str]:
    arguments = ["--config", str(config_path(options))]
    for text in options.overrides:
        arguments += ["--set", text]
    return arguments


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}


def _run(command: list[str], environment: dict[str, str]) -> str:
    result = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    if result.returncode != 0:
        raise LineError(f"{' '.join(command)} ended with {result.returncode}:\n{result.stderr}")
    return result.stdout


def _machine() -> dict[str, Any]:
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return {"cores": os.cpu_count(), "processor": models[0] if models else "unknown"}


def _text(
    bare: list[dict[str, Any]], lines: list[dict[str, Any]], half: dict[str, Any], full: float
) -> str:
    loop = statistics.median(run["images_per_second"] for run in bare)
    ratios = [
        line["parts_per_second"] / run["images_per_second"]
        for line, run in zip(lines, bare, strict=True)
    ]
    first, machine = bare[0], _machine()
    rows = [
        f"{machine['processor']}, {machine['cores']} cores; networks on {first['device']} in "
        f"{first['dtype']}, batch {first['batch']}",
        f"bare loop   {loop:6.1f} images/s   batch p50 {first['batch_ms_p50']:.0f} ms, "
        f"p99 {first['batch_ms_p99']:.0f} ms, {first['threads']} threads",
        f"whole line  {full:6.1f} parts/s",
        f"ratio       {statistics.median(ratios):6.2f}   "
        f"({min(ratios):.2f} to {max(ratios):.2f} over {len(ratios)} rounds)",
        "",
        f"{'hop, ms':16}{'at full load':>26}{'at half load':>26}",
        f"{'':16}{'p50':>13}{'p99':>13}{'p50':>13}{'p99':>13}",
    ]
    for name in sorted(lines[0]["latency_ms"], key=_order):
        rows.append(
            f"{name:16}"
            + "".join(
                f"{run['latency_ms'][name][share]:13.1f}"
                for run in (lines[-1], half)
                for share in ("p50", "p99")
            )
        )
    return "\n".join(rows)


def _order(name: str) -> int:
    hops = ["acquisition", "preprocessing", "reconstruction", "segmentation", "decision"]
    return hops.index(name) if name in hops else len(hops)


if __name__ == "__main__":
    sys.exit(main())
