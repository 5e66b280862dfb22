"""Everything that can be checked before a line starts: `run_line --check`.

    python -m pipeline.preflight --config FILE --subject "model bundle"

checks some of it in a process of its own, for a line that runs and is to change its recipe.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pipeline.command_line import line_parser, load_arguments_line
from pipeline.config import LineConfig
from pipeline.errors import LineError
from pipeline.line import rows

Check = Callable[[LineConfig], Any]
Trial = Callable[[Any, LineConfig], None]


@dataclass(frozen=True)
class Finding:
    """What one stage says of the line's readiness; `fault` is None where all is well."""

    stage: str
    subject: str
    fault: LineError | None


def check_line(config: LineConfig, subjects: Sequence[str] = ()) -> Iterator[Finding]:
    """Ask the module of every stage that has something to check: of all subjects, or of some.

    A module offers `CHECKS`: pairs of a subject and a function that raises LineError. A subject
    that two stages depend on is checked once. What its function returns, as the camera's frame, is
    tried by the stages that receive it: `TRIALS` are pairs of a subject and a function of that and
    the configuration that raises LineError.
    """
    links = [link for row in reversed(rows(config)) for link in row.links]
    modules = {link.name: importlib.import_module(link.module) for link in links}
    seen: set[str] = set()
    for stage, module in modules.items():
        checks: tuple[tuple[str, Check], ...] = getattr(module, "CHECKS", ())
        for subject, check in checks:
            if subject not in seen and (not subjects or subject in subjects):
                seen.add(subject)
                trials = _trials(subject, modules.values())
                yield Finding(stage, subject, _fault(check, trials, config))


def _trials(subject: str, modules: Iterable[ModuleType]) -> list[Trial]:
    offered = (pair for module in modules for pair in getattr(module, "TRIALS", ()))
    return [trial for about, trial in offered if about == subject]


def _fault(check: Check, trials: Iterable[Trial], config: LineConfig) -> LineError | None:
    try:
        found = check(config)
        for trial in trials:
            trial(found, config)
    except LineError as error:
        return error
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Check some subjects; the first fault is printed and gives the exit code."""
    parser = line_parser("preflight", "Check some of what a line needs, and start nothing.")
    parser.add_argument("--subject", action="append", metavar="NAME", required=True)
    parser.add_argument("--asked-for", default="", metavar="OPTIONS", help="see LineConfig")
    options = parser.parse_args(arguments)
    try:
        config = load_arguments_line(options).asked_for_by(options.asked_for)
        for finding in check_line(config, options.subject):
            if finding.fault is not None:
                raise finding.fault
    except LineError as error:
        print(error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
