"""Run an inspection line: `run_line --line 3`.

Parses the arguments, loads the line, and hands over to the supervisor. The processes of a line
stand in `pipeline/line.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.command_line import (
    images_override,
    line_parser,
    load_arguments_line,
    run_command,
    whole_number,
)
from pipeline.config import LineConfig
from pipeline.console import onlooker
from pipeline.data_folder import owned_data_folder, running_line
from pipeline.errors import ConfigError, LineError
from pipeline.line import rows
from pipeline.logs import open_log
from pipeline.loopback import port_fault
from pipeline.output_file import check_can_write
from pipeline.preflight import Finding, check_line
from pipeline.recipe_switch import SUBJECTS
from pipeline.run_folder import RunFolder
from pipeline.summary import RunSummary
from pipeline.supervisor import Supervisor

EPILOG = """\
examples:
  run_line --line 3                       the demonstration line, until Ctrl-C
  run_line --line 3 --parts 50            ends by itself after 50 parts
  run_line --line 1 --images DIR          inspects the images of a folder
  run_line --line 3 --check               says whether the line could start, and what is missing
  run_line --line 3 --set camera.rate_hz=2 --set camera.defect_share=0.5

exit codes:
  0  done, also after Ctrl-C        1  a fault while running
  2  configuration or input wrong   3  not ready: no model bundle, or no calibration that fits it

The first Ctrl-C stops the camera and lets the parts in flight have their verdicts; a second one
ends the line at once, and the parts in flight become UNINSPECTED.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `run_line`; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _main(options))


def _parser() -> argparse.ArgumentParser:
    parser = line_parser(
        "run_line",
        "Run an inspection line: every part that its camera sees gets one verdict, PASS, REJECT "
        "or UNINSPECTED, over MQTT before its deadline, and a record in the reject log.",
        EPILOG,
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="inspect this folder of images")
    parser.add_argument("--parts", type=whole_number(1), metavar="N", help="end after N parts")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write the totals as JSON")
    parser.add_argument("--check", action="store_true", help="check everything, start nothing")
    parser.add_argument("--plain", action="store_true", help="plain lines, no live table")
    parser.add_argument("--verbose", action="store_true", help="all logs on the terminal as well")
    parser.add_argument(
        "--by-hand",
        action="append",
        default=[],
        metavar="STAGE",
        help="do not start this stage: you run it yourself, for instance under a debugger",
    )
    return parser


def _main(options: argparse.Namespace) -> int:
    config = _load(options)
    names = [row.name for row in rows(config)]
    unknown = [name for name in options.by_hand if name not in names]
    if unknown:
        raise ConfigError(
            f"--by-hand {', '.join(unknown)}: no such stage; the line has {', '.join(names)}"
        )
    return _check(config) if options.check else _run(config, options)


def _load(options: argparse.Namespace) -> LineConfig:
    changes = []
    if options.images is not None:
        own = load_arguments_line(options).camera
        changes.append(images_override(options.images, own))
    if options.parts is not None:
        changes.append(("camera.parts", options.parts))
    return load_arguments_line(options, changes)


def _check(config: LineConfig) -> int:
    print(f"line {config.line}, {config.name}\n  ok     configuration")
    codes = [_show(finding, finding.subject) for finding in check_line(config)]
    code = next(filter(None, codes), 0)
    unready = [
        recipe.name
        for recipe in config.recipes
        if recipe.name != config.recipe and not _recipe_is_ready(config, recipe.name)
    ]
    owner = running_line(config)
    can = f"{owner} is running; it could start again" if owner else "the line can start"
    but = f", but not change to recipe {' or '.join(unready)}" if unready else ""
    print(f"{can}{but}" if code == 0 else "the line cannot start")
    return code


def _recipe_is_ready(config: LineConfig, name: str) -> bool:
    findings = check_line(config.with_recipe(name), SUBJECTS)
    codes = [_show(finding, f"{finding.subject} of recipe {name}") for finding in findings]
    return not any(codes)


def _show(finding: Finding, subject: str) -> int:
    """Print what was found; the exit code that it is worth."""
    fault = finding.fault
    print(f"  {'WRONG' if fault else 'ok   '}  {subject}")
    if fault is None:
        return 0
    print("\n".join(f"           {line}" for line in str(fault).splitlines()))
    return fault.exit_code


def _run(config: LineConfig, options: argparse.Namespace) -> int:
    if options.summary is not None:
        check_can_write("--summary", options.summary)
    folder = RunFolder(config)
    folder.open()
    fault: LineError | None = None
    try:
        with owned_data_folder(config), onlooker(options.plain or options.verbose) as view:
            if "broker" not in options.by_hand:
                _check_broker_port(config)
            log = open_log(config, "supervisor", options.verbose)
            supervisor = Supervisor(
                config,
                folder,
                log,
                view,
                by_hand=frozenset(options.by_hand),
                verbose=options.verbose,
            )
            try:
                supervisor.run()
            except LineError as error:
                fault = error
            view.show(supervisor.view())
    finally:
        folder.close()
    summary = supervisor.summary()
    if summary is not None:
        _report(summary, options)
    if fault is not None:
        raise fault
    return 0


def _check_broker_port(config: LineConfig) -> None:
    """Another program on the port of the line's own broker is still there at every restart."""
    broker = config.mqtt.broker
    fault = port_fault(broker.port) if broker.kind == "embedded" else None
    if fault is not None:
        raise ConfigError(fault)


def _report(summary: RunSummary, options: argparse.Namespace) -> None:
    print(summary.text())
    if options.summary is not None:
        summary.write(options.summary)


if __name__ == "__main__":
    sys.exit(main())
