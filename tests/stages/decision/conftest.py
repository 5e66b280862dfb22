"""Parts on their way to decision, and a ledger that judges them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.record import CalibrationRecord, save_and_activate
from calibration_records import calibration_record
from pipeline.config import LineConfig
from pipeline.config_file import line_file, load_line
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

    def calibration(self, **changes: Any) -> CalibrationRecord:
        fields: dict[str, Any] = {
            "bundle_id": "bundle",
            "preparation": {"colour": "grey", "input_px": (64, 64)},
        }
        return calibration_record(**(fields | changes))


@pytest.fixture
def shop() -> Shop:
    return Shop()


def add_model(folder: Path, name: str, record: CalibrationRecord) -> dict[str, str]:
    """A bundle by its name alone, and its calibration: where they lie."""
    bundle, calibrations = folder / name, folder / f"calibration of {name}"
    bundle.mkdir()
    (bundle / "bundle.yaml").write_text(f"id: {name}\n", encoding="utf-8")
    save_and_activate(calibrations, record)
    return {"bundle": str(bundle), "calibration": str(calibrations)}


@pytest.fixture
def small_line(tmp_path: Path, shop: Shop) -> Iterator[Callable[..., LineConfig]]:
    """Line 3 with a bundle that has no networks, half a second for each part, and own folders."""
    run_folder = Path(tempfile.mkdtemp(prefix="line-"))
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.yaml").write_text("id: bundle\n", encoding="utf-8")
    save_and_activate(tmp_path / "calibration", shop.calibration())
    second = add_model(tmp_path, "bundle_b", shop.calibration(bundle_id="bundle_b", threshold=0.25))

    def make(**changes: Any) -> LineConfig:
        own = {
            "data_folder": str(tmp_path / "data"),
            "run_folder": str(run_folder),
            "stages": {},
            "model.bundle": str(tmp_path / "bundle"),
            "calibration.folder": str(tmp_path / "calibration"),
            "timing": {"deadline_ms": 500, "margin_ms": 20},
            "recipes": [{"name": "cap_b", **second}],
        }
        return load_line(line_file(3), [*own.items(), *changes.items()])

    yield make
    shutil.rmtree(run_folder)


@pytest.fixture
def second_recipe() -> tuple[str, float]:
    """Name and threshold of the recipe beside the default one."""
    return "cap_b", 0.25


@pytest.fixture
def ledger(shop: Shop) -> Ledger:
    return shop.ledger()


@pytest.fixture
def reasons() -> Callable[[list[VerdictRecord]], list[tuple[int, Reason]]]:
    """(sequence, reason) of some records."""
    return lambda records: [(record.part.sequence, record.reason) for record in records]
