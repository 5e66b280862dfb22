"""Parts on their way to decision, and a ledger that judges them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from pipeline.messages import (
    Announcement,
    Defect,
    Failure,
    InspectionResult,
    Part,
    Reason,
    Stamp,
    Truth,
    VerdictRecord,
)
from stages.decision.ledger import Ledger, Now
from stages.decision.rule import DecisionRule

MS = 1_000_000
WALL_NS = 1_795_331_702_000_000_000
DEADLINE_MS, MARGIN_MS = 500, 20
VIEW = np.full((6, 8, 1), 7, np.uint8)
NO_VIEW = np.zeros((0, 0, 1), np.uint8)


@dataclass
class Shop:
    """What happens on the shop floor; times are in milliseconds since the line began."""

    session: str = "20261122-071502-3f9a"
    rule: DecisionRule = field(default_factory=lambda: DecisionRule(0.5, "bundle", "calibration"))

    def ledger(self, session: str | None = None) -> Ledger:
        return Ledger(3, session or self.session, self.rule, MARGIN_MS * MS, simulated=True)

    def part(self, sequence: int, session: str | None = None) -> Part:
        return Part(3, session or self.session, sequence)

    def now(self, at_ms: float) -> Now:
        return Now(round(at_ms * MS), WALL_NS + round(at_ms * MS))

    def announcement(
        self, sequence: int, at_ms: float = 0, truth: Truth | None = None, session: str = ""
    ) -> Announcement:
        moment = self.now(at_ms)
        return Announcement(
            self.part(sequence, session),
            moment.monotonic_ns,
            moment.wall_ns,
            moment.monotonic_ns + DEADLINE_MS * MS,
            f"frame {sequence}",
            truth,
        )

    def result(
        self, sequence: int, score: float = 0.25, bundle: str = "bundle", at_ms: float = 0
    ) -> InspectionResult:
        """A result whose part spent 30 ms in each stage, one after the other."""
        names = ("preprocessing", "reconstruction", "segmentation")
        begins = [round((at_ms + 10 + 30 * index) * MS) for index in range(3)]
        stamps = [
            Stamp(name, begin, begin + 25 * MS) for name, begin in zip(names, begins, strict=True)
        ]
        return InspectionResult(
            self.part(sequence),
            bundle,
            score,
            (Defect(1, 2, 3, 4, 12, 0.9),),
            VIEW,
            VIEW,
            np.zeros((6, 8), np.float16),
            (Stamp("acquisition", round(at_ms * MS), round((at_ms + 5) * MS)), *stamps),
        )

    def failure(
        self, sequence: int, reason: Reason = Reason.FRAME_BLACK, view: np.ndarray = NO_VIEW
    ) -> Failure:
        return Failure(self.part(sequence), reason, f"{reason} here", "preprocessing", view)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def ledger(shop: Shop) -> Ledger:
    return shop.ledger()


@pytest.fixture
def reasons() -> Callable[[list[VerdictRecord]], list[tuple[int, Reason]]]:
    """(sequence, reason) of some records."""
    return lambda records: [(record.part.sequence, record.reason) for record in records]
