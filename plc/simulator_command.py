"""The command `plc_simulator`: a simulated PLC beside a running line."""

from __future__ import annotations

import argparse
import queue
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pipeline.command_line import (
    above_zero,
    line_parser,
    load_arguments_line,
    run_command,
    whole_number,
)
from pipeline.control import Command
from pipeline.errors import ConfigError, LineError
from plc.check import connection_fault
from plc.credentials import add_credentials, credentials, plc_access
from plc.incoming import check_values
from plc.simulator import PlcSimulator, SimulatorReport

CONNECT_S = 2.0
"""Time for a first look whether the broker is there; it is tried again in any case."""
EPILOG = """\
examples:
  plc_simulator --line 3                                until the line has ended, or Ctrl-C
  plc_simulator --line 3 --seconds 60 --json seen.json
  plc_simulator --line 3 --send pause --send 10:resume  the second one after 10 seconds
  plc_simulator --line 3 --speed 250                    tracks parts by an encoder, 250 units/s
  plc_simulator --line 2 --certificate plc-2.pem --key plc-2.key
  plc_simulator --line 2 --user plc-2 --password-file plc-2.password

commands, for --send and, with --stdin, one a line:
  start  stop  pause  resume  reset_fault
  select_recipe NAME  next_batch NAME  set_encoder POSITION SPEED

exit codes:
  0  no gate was fired wrongly
  1  a good part was rejected, a verdict changed, or no message of the line came
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `plc_simulator`; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = line_parser(
        "plc_simulator",
        "A PLC for a running line: tracks its parts to a gate that is only counted, watches the "
        "heartbeat, sends commands, acknowledges, and reports what it saw.",
        EPILOG,
    )
    parser.add_argument("--seconds", type=above_zero, metavar="S", help="end after this time")
    parser.add_argument(
        "--parts", type=whole_number(1), metavar="N", help="end after N parts at the gate"
    )
    parser.add_argument("--send", action="append", default=[], metavar="[SECONDS:]COMMAND")
    parser.add_argument("--stdin", action="store_true", help="take commands from standard input")
    parser.add_argument("--speed", type=above_zero, metavar="V", help="of the belt: use an encoder")
    parser.add_argument("--no-ack", action="store_true", help="acknowledge nothing")
    add_credentials(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="only the report, no events")
    return parser


def _run(options: argparse.Namespace) -> int:
    config = load_arguments_line(options)
    due = sorted((_due(text) for text in options.send), key=lambda item: item[0])
    access = plc_access(config, credentials(options))
    simulator = PlcSimulator(
        config,
        access,
        speed=options.speed,
        acknowledge=not options.no_ack,
        say=(lambda _text: None) if options.quiet else _say,
    )
    typed: queue.SimpleQueue[str] = queue.SimpleQueue()
    if options.stdin:
        threading.Thread(target=_read_commands, args=(typed,), daemon=True).start()
    fault = connection_fault(access, CONNECT_S)
    if fault is not None:
        print(f"MQTT broker {access.address}: {fault}; trying again", file=sys.stderr, flush=True)
    simulator.start()
    try:
        _operate(simulator, options, due, typed)
    except KeyboardInterrupt:
        pass  # Ctrl-C is the usual end of a simulation
    finally:
        simulator.close()
    report = simulator.report()
    print(report.text())
    if options.json is not None:
        _write(report, options.json)
    _require_a_line(report)
    return 1 if report.gate.wrong or report.gate.contradictions else 0


def _operate(
    simulator: PlcSimulator,
    options: argparse.Namespace,
    due: list[tuple[float, str]],
    typed: queue.SimpleQueue[str],
) -> None:
    started_s = time.monotonic()
    while not simulator.over:
        passed_s = time.monotonic() - started_s
        while due and passed_s >= due[0][0]:
            _send(simulator, due.pop(0)[1])
        while not typed.empty():
            _send(simulator, typed.get())
        simulator.step()
        if options.seconds is not None and passed_s >= options.seconds:
            return
        if options.parts is not None and simulator.register.behind >= options.parts:
            return


def _require_a_line(report: SimulatorReport) -> None:
    """Without a line no gate is wrong, which proves nothing. Raises LineError."""
    if not (report.states or report.heartbeats or report.gate.parts):
        raise LineError(
            f"no message of line {report.line} came that could be read: is it running, and are "
            "host, port and topic_root right?"
        )


def read_words(text: str) -> tuple[Command, dict[str, str | float]]:
    """A command as people write it, for instance `next_batch B-7`. Raises ConfigError."""
    name, _, rest = text.strip().partition(" ")
    try:
        command = _command(name)
        values = _values(command, rest.strip())
        check_values(command, tuple(values))
    except ValueError as error:
        raise ConfigError(f"command {text!r}: {error}; see plc_simulator --help") from error
    return command, values


def _command(name: str) -> Command:
    try:
        return Command(name)
    except ValueError as error:
        raise ValueError(f"expected one of {', '.join(Command)}") from error


def _values(command: Command, rest: str) -> dict[str, str | float]:
    if command is Command.SET_ENCODER:
        try:
            position, speed = map(float, rest.split())
        except ValueError as error:
            raise ValueError("expected two numbers, POSITION SPEED") from error
        return {"position": position, "speed": speed}
    key = "recipe" if command is Command.SELECT_RECIPE else "batch"
    return {key: rest} if rest else {}


def _due(text: str) -> tuple[float, str]:
    """`10:pause` as (10.0, "pause"); the words are checked before anything starts."""
    seconds, sign, command = text.partition(":")
    after_s, words = (seconds, command) if sign and seconds else ("0", text)
    try:
        found = float(after_s), words.strip()
    except ValueError as error:
        raise ConfigError(f"--send {text}: expected [SECONDS:]COMMAND") from error
    read_words(found[1])
    return found


def _send(simulator: PlcSimulator, text: str) -> None:
    """A word that is no command is only answered: the PLC goes on."""
    try:
        command, values = read_words(text)
    except ConfigError as error:
        _say(str(error))
    else:
        simulator.command(command, **values)


def _read_commands(typed: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        if line.strip():
            typed.put(line.strip())


def _write(report: SimulatorReport, file: Path) -> None:
    try:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    except OSError as error:
        raise ConfigError(f"--json {file}: cannot be written: {error}") from error


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
