"""The command `reject_log`: which parts a line rejected, why, and the pictures that show it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from pipeline.command_line import (
    READER_GONE,
    line_parser,
    load_arguments_line,
    run_command,
    whole_number,
)
from pipeline.config import LineConfig
from pipeline.errors import InputError
from pipeline.messages import Reason, Verdict
from reject_log.images import images_folder
from reject_log.listing import as_json, local_time, sheet, table, totals
from reject_log.since import parse_since
from reject_log.store import ReadStore, database_path

TABLE_ROWS = 50
MOST_PARTS = 10**12
"""More than any log holds; the database's own numbers end at 2^63."""
_OUT_OF_THE_LINE = (Verdict.REJECT, Verdict.UNINSPECTED)
_EPILOG = """examples:
  reject_log --line 3                                    rejects of the last 8 hours
  reject_log --line 3 --since 2d --reason DEADLINE       parts without a result in time
  reject_log --line 3 --part L3-20261122-071502-3f9a-000123
  reject_log --line 3 --since 2026-11-22T06:00 --json    one JSON object per line

exit codes: 0 listed, also where there is nothing to list; 1 the log cannot be read; 2 a wrong
argument, configuration or part id
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console command; gives its exit code."""
    arguments = _parser().parse_args(argv)
    code = run_command(lambda: _run(arguments))
    return 0 if code == READER_GONE else code


def _parser() -> argparse.ArgumentParser:
    parser = line_parser(
        "reject_log", "List the parts that a line rejected or could not inspect.", _EPILOG
    )
    parser.add_argument(
        "--since",
        default="8h",
        metavar="WHEN",
        help="an age (30m, 8h, 2d) or a time (2026-11-22T06:00, local); default 8h",
    )
    parser.add_argument(
        "--verdict",
        choices=[verdict.value for verdict in Verdict],
        help="only this verdict; default REJECT and UNINSPECTED",
    )
    parser.add_argument(
        "--reason",
        choices=[reason.value for reason in Reason],
        metavar="CODE",
        help="only this reason, for instance DEADLINE or ABOVE_THRESHOLD",
    )
    parser.add_argument("--part", metavar="PART_ID", help="all that is known of one part")
    parser.add_argument(
        "--limit",
        type=_number_of_parts,
        metavar="N",
        help=f"the newest N parts only; 0 for all. Default {TABLE_ROWS}, with --json all",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per part and line")
    return parser


def _number_of_parts(text: str) -> int:
    value = whole_number(-MOST_PARTS)(text)
    if not 0 <= value <= MOST_PARTS:
        raise argparse.ArgumentTypeError(
            f"{text}: expected a number of parts up to {MOST_PARTS}, or 0 for all"
        )
    return value


def _run(arguments: argparse.Namespace) -> int:
    since_wall_ns = parse_since(arguments.since, time.time_ns())
    config = load_arguments_line(arguments)
    with ReadStore(database_path(config)) as store:
        if arguments.part:
            _print_part(arguments, config, store)
        elif arguments.json:
            _print_json(arguments, config, store, since_wall_ns)
        else:
            _print_table(arguments, config, store, since_wall_ns)
    return 0


def _print_part(arguments: argparse.Namespace, config: LineConfig, store: ReadStore) -> None:
    record = store.find(arguments.part)
    if record is None:
        raise InputError(
            f"--part {arguments.part}: the log of line {config.line} has no such part; "
            "a part id looks like L3-20261122-071502-3f9a-000123"
        )
    show = as_json if arguments.json else sheet
    print(show(record, images_folder(config)))


def _print_json(
    arguments: argparse.Namespace, config: LineConfig, store: ReadStore, since_wall_ns: int
) -> None:
    limit = arguments.limit or None
    for record in store.each(since_wall_ns, _verdicts(arguments), limit, _reason(arguments)):
        print(as_json(record, images_folder(config)))


def _print_table(
    arguments: argparse.Namespace, config: LineConfig, store: ReadStore, since_wall_ns: int
) -> None:
    limit = TABLE_ROWS if arguments.limit is None else arguments.limit or None
    verdicts = _verdicts(arguments)
    one_more = None if limit is None else limit + 1
    records = store.list(since_wall_ns, verdicts, one_more, _reason(arguments))
    shown = records if limit is None else records[-limit:]
    if shown:
        print(table(shown, images_folder(config)))
    else:
        print(f"no {_wanted(arguments)} parts since {local_time(since_wall_ns)}")
    if len(shown) < len(records):
        print(f"(the newest {len(shown)} only; --limit 0 shows all)")
    print(f"line {config.line}: {totals(store.counts(since_wall_ns), since_wall_ns)}")


def _verdicts(arguments: argparse.Namespace) -> tuple[Verdict, ...]:
    if arguments.verdict:
        return (Verdict(arguments.verdict),)
    if arguments.reason:
        return tuple(Verdict)
    return _OUT_OF_THE_LINE


def _reason(arguments: argparse.Namespace) -> Reason | None:
    return Reason(arguments.reason) if arguments.reason else None


def _wanted(arguments: argparse.Namespace) -> str:
    verdicts = " or ".join(_verdicts(arguments))
    return f"{verdicts} {arguments.reason}" if arguments.reason else verdicts


if __name__ == "__main__":
    sys.exit(main())
