"""The proof: a real line, hurt again and again at random moments, and every part accounted for.

    make chaos FAULTS=200
    python -m chaos.campaign --faults 40 --seed 7 --only "kill segmentation" --json chaos.json

docs/chaos.md says what is done, what is checked, and how to read the table.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from chaos.cost import count_cost
from chaos.fault import Hall, Kind
from chaos.faults.registry import all_kinds
from chaos.ledger import KeptJournal
from chaos.remains import left_behind, reject_log_differs, shared_memory
from chaos.scores import wrong_scores
from chaos.setup import measure_capacity, open_hall, start_steady
from chaos.table import Campaign
from chaos.trial import Outcome, Trial
from chaos.violation import Violation
from pipeline.command_line import above_zero, plain_parser, run_command, whole_number
from pipeline.errors import ConfigError, LineError

LOAD = 0.8
SHOWN = 3
"""Violations of one fault that are shown at once; all stand below the table."""
EPILOG = """\
exit codes:
  0  no violation      1  violations, each with what is needed to repeat it      2  arguments
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _end_in_order)
    return run_command(lambda: _main(options))


def _end_in_order(_number: int, _frame: FrameType | None) -> None:
    """What was mounted, started and laid is taken away on SIGTERM, too."""
    sys.exit("chaos.campaign: terminated")


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser("chaos.campaign", __doc__, EPILOG)
    parser.add_argument("--faults", type=whole_number(1), default=40, metavar="N")
    parser.add_argument("--seed", type=int, default=1, help="of kinds, moments and lengths")
    parser.add_argument(
        "--just", type=whole_number(1), metavar="N", help="only fault N of the seed"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="KIND",
        help="kinds that begin so; repeatable",
    )
    parser.add_argument("--broker", choices=("mosquitto", "embedded"), default="mosquitto")
    parser.add_argument(
        "--rate",
        type=above_zero,
        metavar="HZ",
        help="parts per second, not 80 %% of what is measured; an overload is 2.5 times this",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON")
    parser.add_argument("--list", action="store_true", help="name the kinds and end")
    return parser


def _main(options: argparse.Namespace) -> int:
    kinds = chosen_kinds(options.broker == "embedded", options.only)
    if options.list:
        print("\n".join(kind.name for kind in kinds))
        return 0
    campaign = run_campaign(options, kinds)
    print(campaign.text())
    if options.json is not None:
        options.json.write_text(json.dumps(campaign.content(), indent=2) + "\n", encoding="utf-8")
    return 1 if campaign.violations else 0


def chosen_kinds(embedded: bool, only: Sequence[str]) -> list[Kind]:
    """The kinds whose name begins with one of `only`, all without it. Raises ConfigError."""
    known = all_kinds(embedded)
    kinds = [kind for kind in known if not only or any(kind.name.startswith(o) for o in only)]
    if not kinds:
        names = ", ".join(kind.name for kind in known)
        raise ConfigError(f"--only {', '.join(only)}: no such kind; there are {names}")
    return kinds


def deck(kinds: Sequence[Kind], seed: int) -> Iterator[Kind]:
    """Kinds without end, each once before any comes again, in an order of the seed."""
    drawn = random.Random(f"{seed} deck")
    while True:
        round_ = list(kinds)
        drawn.shuffle(round_)
        yield from round_


def run_campaign(options: argparse.Namespace, kinds: Sequence[Kind]) -> Campaign:
    """Open the hall, inflict the faults, end the line, and judge the whole."""
    began_s, before = time.monotonic(), shared_memory()
    with open_hall(options.broker) as hall:
        journal = KeptJournal(hall.config.ledger_folder, hall.folder / "kept")
        hall.measured = options.rate is None
        hall.rate_hz = options.rate or LOAD * measure_capacity(hall)
        hall.shared_before = before
        print(f"{hall.rate_hz:.1f} parts/s on {hall.access.address}", file=sys.stderr)
        campaign = Campaign(options.seed, options.broker, hall.rate_hz, only=options.only)
        campaign.missing = {kind.name: why for kind in kinds if (why := kind.missing(hall))}
        possible = [kind for kind in kinds if kind.name not in campaign.missing]
        if not possible:
            reasons = "; ".join(f"{kind}: {why}" for kind, why in campaign.missing.items())
            raise ConfigError(f"none of these faults is possible here: {reasons}")
        journal.read_on()
        start_steady(hall, hall.rate_hz)
        _inflict_all(campaign, hall, journal, possible, options)
        _end(campaign, hall, journal)
    left = shared_memory() - before
    campaign.rest += [Violation(5, f"left behind: shared memory {name}") for name in sorted(left)]
    campaign.seconds = time.monotonic() - began_s
    return campaign


def _inflict_all(
    campaign: Campaign,
    hall: Hall,
    journal: KeptJournal,
    kinds: Sequence[Kind],
    options: argparse.Namespace,
) -> None:
    last = options.just or options.faults
    for number, kind in zip(range(1, last + 1), deck(kinds, options.seed), strict=False):
        if options.just not in (None, number):
            continue
        drawn = random.Random(f"{options.seed} {number}")
        outcome = Trial(hall, journal, number, kind, drawn).run()
        campaign.outcomes.append(outcome)
        _say(outcome)
        if not outcome.steady and not _started_anew(hall, outcome):
            return


def _started_anew(hall: Hall, outcome: Outcome) -> bool:
    """Whether a line that did not come back runs again."""
    outcome.violations.append(Violation(4, "the line had to be started anew"))
    hall.checker.killed_s[hall.view.session] = time.monotonic()
    hall.line.kill()
    try:
        start_steady(hall, hall.rate_hz)
    except LineError as error:
        outcome.violations.append(Violation(4, str(error)))
        return False
    return True


def _end(campaign: Campaign, hall: Hall, journal: KeptJournal) -> None:
    """Stop the line and judge what could not be judged before."""
    hall.line.counters.look()
    campaign.rest += _stop(hall)
    journal.read_on()
    belt_s = hall.config.timing.deadline_ms / 1e3
    hall.view.pass_time(belt_s + 1)  # the last parts reach the gate
    accounts = journal.accounts
    campaign.rest += hall.checker.judge(accounts, journal.read_s, final=True)
    campaign.rest += hall.checker.uncounted(accounts, hall.line.counters.numbered())
    if hall.view.unreadable:
        text = f"{hall.view.unreadable} messages were not what the contract says"
        campaign.rest.append(Violation(1, text))
    campaign.rest += left_behind(hall.line)
    campaign.rest += reject_log_differs(hall.config, accounts)
    drawn = random.Random(f"{campaign.seed} scores")
    campaign.rescored, wrong = wrong_scores(hall.config, accounts, hall.unusual, drawn)
    campaign.rest += wrong
    for outcome in campaign.outcomes:
        count_cost(outcome, accounts, hall.view)
    campaign.parts = sum(account.last for account in accounts.values())


def _stop(hall: Hall) -> list[Violation]:
    """Nothing where the line ends in order; one that does not is killed."""
    try:
        code = hall.line.stop()
    except LineError as error:
        hall.checker.killed_s[hall.view.session] = time.monotonic()
        hall.line.kill()
        return [Violation(5, str(error))]
    return [Violation(5, f"the line ended with exit code {code}")] if code else []


def _say(outcome: Outcome) -> None:
    back = "not back" if outcome.recovered_s is None else f"back after {outcome.recovered_s:.1f} s"
    seen = "" if outcome.sign_s is None else f", seen after {outcome.sign_s:.1f} s"
    wrong = f", {len(outcome.violations)} VIOLATIONS" if outcome.violations else ""
    drawn = f" ({outcome.detail})" if outcome.detail else ""
    print(f"{outcome.number:4} {outcome.kind}{drawn}: {back}{seen}{wrong}", file=sys.stderr)
    for violation in outcome.violations[:SHOWN]:
        print(f"       {violation}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
