"""The whole line, measured with real processes: its throughput, its latency, and its limits.

    make bench
    python -m benchmarks.line --line 3 --parts 400 --rounds 3 --json line.json
    python -m benchmarks.line --sizes 0.3,1.3,5 --workers 1,2
    python -m benchmarks.line --overload 20
    python -m benchmarks.line --endurance 20000

Without --sizes, --workers, --overload and --endurance it measures throughput against the same
networks in a bare loop, and latency by load. Each round runs the bare loop, then the line as its
user does (`run_line`), with the camera as fast as the line takes its parts, then the same with
parts drawn beforehand, then the line at each load of --loads, in percent of the first throughput;
rounds alternate, so that a machine whose speed drifts is fair to all, and ratios are formed within
a round. There are two: `line / bare loop`, where the simulated camera draws every part on the cores
that the line computes on, and `line, parts drawn beforehand / bare loop`, where it does not, as the
bare loop does not. Latency runs from the capture to the verdict's arrival at an MQTT reader; at a
load so many parts are shown as --parts says.

--sizes and --workers run the line with frames of other sizes, or with so many workers in one of the
stages that compute, as fast as it takes its parts and at half of that. --overload runs half load,
the given seconds of 150 % of the throughput measured just before, and half load again, under the
line's own deadline: what was inspected, why the rest was not, and after how many parts and seconds
at half load a batch of parts in a row is inspected no slower than the slowest before it. For these
a few parts are drawn beforehand and shown in turn. --endurance reads the memory of all processes
as verdicts come, and judges it. One or more of them are measured in place of the loads; add
--loads for these, too.

Run it on an otherwise idle machine. --against FILE compares all ratios with those that an earlier
run wrote with --json: they should be within 10 %.

exit codes: 0 done; 1 a line failed or a limit is exceeded; 2 arguments; 3 no usable bundle
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.line_choice import LineChoice, check_choice
from benchmarks.line_endurance import Limits, measure_endurance
from benchmarks.line_overload import measure_overload
from benchmarks.line_ratio import measure_ratio
from benchmarks.line_report import (
    Finding,
    agreement,
    machine_of_lines,
    ratios_content,
    read_ratios,
)
from benchmarks.line_sweep import measure_points, size_points, worker_points
from benchmarks.table import list_of
from evaluation.output import check_file, write_text
from pipeline.command_line import above_zero, config_path, line_parser, run_command, whole_number
from pipeline.errors import LineError

DEMONSTRATION = 3
"""The line with a simulated camera and a shipped model."""
LOADS = (25.0, 50.0, 80.0, 95.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _main(options))


def _parser() -> argparse.ArgumentParser:
    parser = line_parser("benchmarks.line", __doc__ or "", default_line=DEMONSTRATION)
    number = whole_number(1)
    parser.add_argument(
        "--parts", type=number, default=400, help="parts of each run of the line (default 400)"
    )
    parser.add_argument("--rounds", type=number, default=3, help="of everything (default 3)")
    parser.add_argument(
        "--loads",
        type=list_of(load_percent),
        metavar="P,P",
        help="loads in percent of the throughput; half load is always one (default 25,50,80,95)",
    )
    parser.add_argument(
        "--sizes", type=list_of(above_zero), metavar="M,M", help="megapixels of a frame"
    )
    parser.add_argument(
        "--workers", type=list_of(number), metavar="N,N", help="workers of each computing stage"
    )
    parser.add_argument(
        "--overload", type=above_zero, nargs="?", const=20.0, metavar="S", help="seconds of it (20)"
    )
    parser.add_argument(
        "--endurance", type=number, nargs="?", const=20_000, metavar="N", help="parts (20000)"
    )
    parser.add_argument(
        "--memory-limit", type=above_zero, default=2500, metavar="MB", help="of all (default 2500)"
    )
    parser.add_argument(
        "--growth-limit", type=above_zero, default=2, metavar="P", help="percent (default 2)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON")
    parser.add_argument("--against", type=Path, metavar="FILE", help="JSON of an earlier run")
    return parser


def load_percent(text: str) -> float:
    """A reader of loads that a line can bear, in percent, for argparse."""
    load = above_zero(text)
    if load > 100:
        raise argparse.ArgumentTypeError(f"{text}: expected at most 100; beyond it use --overload")
    return load


def _main(options: argparse.Namespace) -> int:
    choice = LineChoice(config_path(options), tuple(options.overrides))
    check_choice(choice)
    before = None if options.against is None else read_ratios(options.against)
    if options.json is not None:
        check_file("--json", options.json)
    found = []
    for finding in _measure(options, choice):
        found.append(finding)
        print(f"{finding.text}\n", flush=True)
    ratios = {name: ratio for finding in found for name, ratio in finding.ratios.items()}
    if before is not None:
        found.append(agreement(before, ratios))
        print(found[-1].text)
    if options.json is not None:
        _write(found, options.json)
    faults = [fault for finding in found for fault in finding.faults]
    if faults:
        raise LineError("; ".join(faults))
    return 0


def _measure(options: argparse.Namespace, choice: LineChoice) -> Iterator[Finding]:
    """What was asked for, one after the other."""
    rounds, parts = options.rounds, options.parts
    others = (options.sizes, options.workers, options.overload, options.endurance)
    if options.loads is not None or others == (None,) * len(others):
        batch = choice.load().batch.size
        yield measure_ratio(choice, rounds, parts, options.loads or LOADS, batch)
    if options.sizes is not None:
        points = size_points(choice, options.sizes)
        yield measure_points("frames of other sizes", "sizes", points, rounds, parts)
    if options.workers is not None:
        points = worker_points(choice, options.workers)
        yield measure_points("workers of one stage", "workers", points, rounds, parts)
    if options.overload is not None:
        yield measure_overload(choice, rounds, parts, options.overload)
    if options.endurance is not None:
        limits = Limits(options.memory_limit, options.growth_limit / 100)
        yield measure_endurance(choice, options.endurance, limits)


def _write(found: Sequence[Finding], file: Path) -> None:
    content = {key: value for finding in found for key, value in finding.content.items()}
    report = {**content, "ratios": ratios_content(found), "machine": machine_of_lines()}
    write_text(file, json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
