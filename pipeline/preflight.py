"""Everything that can be checked before a line starts: `run_line --check`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.config import LineConfig
from pipeline.errors import LineError
from pipeline.line import rows


@dataclass(frozen=True)
class Finding:
    """What one stage says of the line's readiness; `fault` is None where all is well."""

    stage: str
    subject: str
    fault: LineError | None


def check_line(config: LineConfig) -> Iterator[Finding]:
    """Ask the module of every row that has something to check.

    A module offers `CHECKS`: pairs of a subject and a function that raises LineError. A subject
    that two stages depend on is checked once.
    """
    seen: set[str] = set()
    for row in reversed(rows(config)):
        checks: tuple[tuple[str, Callable[[LineConfig], None]], ...] = getattr(
            importlib.import_module(row.module), "CHECKS", ()
        )
        for subject, check in checks:
            if subject not in seen:
                seen.add(subject)
                yield Finding(row.name, subject, _fault(check, config))


def _fault(check: Callable[[LineConfig], None], config: LineConfig) -> LineError | None:
    try:
        check(config)
    except LineError as error:
        return error
    return None
