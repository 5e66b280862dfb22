from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import LineConfig
from pipeline.config_file import line_file, load_line
from pipeline.messages import AnnouncedNote, Part, Reason, SessionNote, Verdict, VerdictRecord

SESSION = "20261122-071502-3f9a"
HOUR_NS = 3600 * 1_000_000_000
DECIDED_NS = 1_795_331_702 * 1_000_000_000  # 2026-11-22 07:15:02 UTC


@pytest.fixture
def config(tmp_path: Path) -> LineConfig:
    return load_line(line_file(3), [("data_folder", str(tmp_path / "data"))])


@pytest.fixture
def make_record() -> Callable[..., VerdictRecord]:
    def make(sequence: int, session: str = SESSION, **changes: Any) -> VerdictRecord:
        fields: dict[str, Any] = {
            "part": Part(3, session, sequence),
            "verdict": Verdict.PASS,
            "reason": Reason.BELOW_THRESHOLD,
            "text": "",
            "score": 0.25,
            "threshold": 0.5,
            "bundle_id": "b" * 12,
            "calibration_id": "c" * 12,
            "captured_wall_ns": DECIDED_NS + sequence * 1000 - 50_000_000,
            "decided_wall_ns": DECIDED_NS + sequence * 1000,
            "deadline_wall_ns": DECIDED_NS + sequence * 1000 + HOUR_NS,
            "late": False,
            "latency_ms": 50.0,
            "simulated": True,
            "source": f"frame {sequence}",
            "truth": None,
            "defects": (),
            "stamps": (),
        }
        return VerdictRecord(**(fields | changes))

    return make


@pytest.fixture
def announce() -> Callable[..., AnnouncedNote]:
    def make(sequence: int, session: str = SESSION) -> AnnouncedNote:
        return AnnouncedNote(Part(3, session, sequence), 1, DECIDED_NS, 2, "frame", None)

    return make


@pytest.fixture
def note() -> Callable[..., SessionNote]:
    def make(session: str = SESSION) -> SessionNote:
        return SessionNote(session, 3, "{}")

    return make
