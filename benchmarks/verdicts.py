"""Verdicts from decision to the PLC: how late they are, and whether any wait.

    python -m benchmarks.verdicts --rates 20,100,1000 --seconds 10 --json verdicts.json
    python -m benchmarks.verdicts --payload sparkplug --reject-share 0.5

For each rate a line of its own is started, with its real supervisor, decision and recorder, and a
mosquitto of its own on this machine. One further process plays the stages before decision: it
announces parts and gives their scores, with defects and pictures of the line's size, at that rate;
so many are a REJECT as --reject-share says. A reader in this process subscribes as a PLC does and
notes when each verdict comes; --reader simulator is plc_simulator, which decodes each message,
works its gate and acknowledges rejects, and notes when its cycle has read the verdict.

after decision: from the moment that decision takes a score in, which the ledger has, to the
verdict's arrival at the reader. Recording it, encoding it and the broker lie between. The scores
that decision takes in together have one moment.
after score: from the score's leaving the stage before.
backlog: parts whose score was sent and whose verdict was not heard; the most, and the median in the
second and in the last tenth of the run.
CPU: processor time of a process per verdict, between the first verdict and the last.

Every part has to be heard exactly once, none late and none UNINSPECTED; p99 after decision may be
--p99-limit-ms, the rate has to be reached, and the backlog must not grow. All times are of the
machine's monotonic clock. Run it on an otherwise idle machine.

The pictures of line 3 are 1.1 MB per part, which at 1000 parts/s is more than two cores can move
beside everything else; --picture-px 64 leaves them small, and measures decision and MQTT.

exit codes: 0 done; 1 a line failed or a limit is exceeded; 2 arguments, or no mosquitto here;
3 no usable bundle
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.line_choice import LineChoice
from benchmarks.line_report import machine_of_lines
from benchmarks.table import list_of, text_table
from benchmarks.verdict_figures import Limits, RateRun
from benchmarks.verdict_line import Play, mosquitto_program, run_at
from benchmarks.verdict_plc import SimulatedPlc
from benchmarks.verdict_reader import Reader, VerdictReader
from evaluation.output import check_file, write_text
from pipeline.command_line import (
    above_zero,
    config_path,
    line_parser,
    run_command,
    share,
    whole_number,
)
from pipeline.config import LineConfig, SimulatedCamera
from pipeline.errors import ConfigError, LineError

DEMONSTRATION = 3
"""The line with a simulated camera and a shipped model."""
RATES = (20.0, 100.0, 1000.0)
READERS: dict[str, Callable[[LineConfig], Reader]] = {
    "mqtt": VerdictReader,
    "simulator": SimulatedPlc,
}
COLUMNS = (
    "parts/s", "sent/s", "heard/s", "verdicts",
    "after decision p50", "p90", "p99", "max", "after score p50", "p99", "max",
    "backlog most", "2nd", "last", "decision CPU", "mosquitto", "recorder",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _main(options))


def _parser() -> argparse.ArgumentParser:
    parser = line_parser("benchmarks.verdicts", __doc__ or "", default_line=DEMONSTRATION)
    parser.add_argument(
        "--rates",
        type=list_of(above_zero),
        default=list(RATES),
        metavar="R,R",
        help="parts per second (default 20,100,1000)",
    )
    parser.add_argument(
        "--seconds", type=above_zero, default=10.0, help="of each rate (default 10)"
    )
    parser.add_argument(
        "--reject-share", type=share, default=0.1, metavar="S", help="of the parts (default 0.1)"
    )
    parser.add_argument(
        "--picture-px",
        type=whole_number(16),
        metavar="N",
        help="longest side of the pictures that come with a score (default: the line's)",
    )
    parser.add_argument(
        "--payload", choices=("json", "sparkplug"), default="json", help="(default json)"
    )
    parser.add_argument("--reader", choices=READERS, default="mqtt", help="(default mqtt)")
    parser.add_argument(
        "--p99-limit-ms",
        type=above_zero,
        default=5.0,
        metavar="MS",
        help="after decision (default 5)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON")
    return parser


def _main(options: argparse.Namespace) -> int:
    choice = LineChoice(config_path(options), tuple(options.overrides))
    _check(choice)
    if options.reader == "simulator" and options.payload == "sparkplug":
        raise ConfigError("--reader simulator: plc_simulator reads JSON only; leave out --payload")
    if options.json is not None:
        check_file("--json", options.json)
    machine, limits = machine_of_lines(), Limits(options.p99_limit_ms)
    runs = [_run(choice, options, rate) for rate in options.rates]
    print(
        f"{machine['processor']}, {machine['cores']} cores; {options.payload}, "
        f"reader {options.reader}, "
        f"{100 * options.reject_share:g} % rejects, pictures of "
        f"{'the line' if options.picture_px is None else f'{options.picture_px} px'}, "
        f"{options.seconds:g} s at each rate, mosquitto on this machine; times and CPU per verdict "
        f"in ms\n\n{_table(runs)}"
    )
    if options.json is not None:
        content = {
            "machine": machine,
            "payload": options.payload,
            "reader": options.reader,
            "reject_share": options.reject_share,
            "picture_px": options.picture_px,
            "seconds": options.seconds,
            "limits": asdict(limits),
            "runs": [run.content() for run in runs],
        }
        write_text(options.json, json.dumps(content, indent=2) + "\n")
    faults = [fault for run in runs for fault in run.faults(limits)]
    if faults:
        raise LineError("; ".join(faults))
    return 0


def _check(choice: LineChoice) -> None:
    """Raises ConfigError for a line, or a machine, that cannot be measured."""
    mosquitto_program()
    if not isinstance(choice.load().camera, SimulatedCamera):
        raise ConfigError("the benchmark needs a line with a simulated camera, for instance line 3")


def _run(choice: LineChoice, options: argparse.Namespace, rate: float) -> RateRun:
    print(f"{rate:g} parts/s ...", file=sys.stderr, flush=True)
    parts = max(2, round(rate * options.seconds))
    play = Play(rate, parts, options.reject_share, options.picture_px)
    return run_at(choice, options.payload, play, READERS[options.reader])


def _table(runs: Sequence[RateRun]) -> str:
    return text_table(COLUMNS, [_row(run) for run in runs])


def _row(run: RateRun) -> list[str]:
    decision, score, backlog = run.after_decision_ms, run.after_score_ms, run.backlog
    times = (decision.p50, decision.p90, decision.p99, decision.most, score.p50, score.p99)
    return [
        f"{run.rate:g}",
        f"{run.sent_rate:.1f}",
        f"{run.heard_rate:.1f}",
        f"{run.parts - run.unheard}",
        *(f"{value:.2f}" for value in (*times, score.most)),
        f"{backlog.most}",
        f"{backlog.medians[1]:.0f}",
        f"{backlog.medians[-1]:.0f}",
        *(_cpu(run, name) for name in ("decision", "mosquitto", "recorder")),
    ]


def _cpu(run: RateRun, name: str) -> str:
    """Unknown of a process that had ended before it could be looked at."""
    return f"{run.cpu_ms[name]:.2f}" if name in run.cpu_ms else "-"


if __name__ == "__main__":
    sys.exit(main())
