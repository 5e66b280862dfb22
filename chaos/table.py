"""What a campaign says at its end, as text and as JSON."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.trial import Outcome
from chaos.violation import Violation

HEADER = (
    "fault",
    "times",
    "parts",
    "uninspected",
    "undelivered",
    "lost good",
    "seen",
    "back",
    "FAULT",
    "wrong",
)
SECONDS = "p50/max s"


@dataclass
class Campaign:
    """All outcomes; `rest`: violations found at the end, which belong to no single fault."""

    seed: int
    broker: str
    rate_hz: float
    outcomes: list[Outcome] = field(default_factory=list)
    rest: list[Violation] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    parts: int = 0
    rescored: int = 0
    seconds: float = 0.0
    only: Sequence[str] = ()
    """The kinds that were asked for; all without it."""

    @property
    def arguments(self) -> str:
        """Those on which it depends which fault comes when."""
        words = ["--seed", str(self.seed), "--broker", self.broker]
        words += [word for kind in self.only for word in ("--only", kind)]
        return shlex.join(words)

    @property
    def violations(self) -> int:
        """How many there are."""
        return len(self.rest) + sum(len(outcome.violations) for outcome in self.outcomes)

    def text(self) -> str:
        """The table, what could not be done here, and each violation with how to repeat it."""
        by_kind: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            by_kind.setdefault(outcome.kind, []).append(outcome)
        rows = [_row(kind, by_kind[kind]) for kind in sorted(by_kind)]
        rows.append(_row("all", self.outcomes))
        lines = [
            f"{len(self.outcomes)} faults, seed {self.seed}, {self.broker} broker, "
            f"{self.rate_hz:.1f} parts/s, {self.seconds:.0f} s; {self.parts} parts announced, "
            f"{self.rescored} PASS scored again",
            *_aligned([HEADER, ("", "", "", "", "", "", SECONDS, SECONDS, "", ""), *rows]),
        ]
        lines += [f"not possible here: {kind}: {why}" for kind, why in self.missing.items()]
        for outcome in self.outcomes:
            lines += [
                f"VIOLATION {item}\n  {outcome.where(self.arguments)}"
                for item in outcome.violations
            ]
        lines += [f"VIOLATION {item}\n  found at the end, seed {self.seed}" for item in self.rest]
        return "\n".join([*lines, f"{self.violations} violations"])

    def content(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "seed": self.seed,
            "broker": self.broker,
            "only": list(self.only),
            "rate_hz": self.rate_hz,
            "seconds": round(self.seconds, 1),
            "parts": self.parts,
            "rescored": self.rescored,
            "not_possible": self.missing,
            "violations": self.violations,
            "at_the_end": [str(item) for item in self.rest],
            "faults": [_content(outcome) for outcome in self.outcomes],
        }


def _row(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    return (
        name,
        str(len(outcomes)),
        str(sum(outcome.parts for outcome in outcomes)),
        str(sum(outcome.uninspected for outcome in outcomes)),
        str(sum(outcome.undelivered for outcome in outcomes)),
        str(sum(outcome.lost_good for outcome in outcomes)),
        _spread(outcome.sign_s for outcome in outcomes),
        _spread(outcome.recovered_s for outcome in outcomes),
        str(sum(outcome.faulted for outcome in outcomes)),
        str(sum(len(outcome.violations) for outcome in outcomes)),
    )


def _spread(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.1f}/{max(known):.1f}" if known else "-"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    ]


def _content(outcome: Outcome) -> dict[str, Any]:
    return {
        "number": outcome.number,
        "kind": outcome.kind,
        "detail": outcome.detail,
        "session": outcome.session,
        "first_part": outcome.first_part,
        "after_s": round(outcome.after_s, 3),
        "parts": outcome.parts,
        "uninspected": outcome.uninspected,
        "undelivered": outcome.undelivered,
        "lost_good": outcome.lost_good,
        "seen_s": outcome.sign_s,
        "back_s": outcome.recovered_s,
        "fault": outcome.faulted,
        "violations": [str(item) for item in outcome.violations],
    }
