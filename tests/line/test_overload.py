"""More parts than a line can inspect: the PLC sees it in the state, and sees when it is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.line import DOORWAY
from chaos.switches import ENVIRONMENT, LOAD, Switches
from pipeline.messages import Reason, Verdict

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
A_HUNDREDFOLD = 10_000
"""Per cent of the configured rate."""


@pytest.fixture
def switches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Switches:
    """What a line's camera obeys that is started now."""
    made = Switches(tmp_path / "switches")
    (tmp_path / "sitecustomize.py").write_text(DOORWAY, encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "switches"))
    return made


def test_an_overload_makes_the_line_degraded_until_it_keeps_up_again(line, plc, verify, switches):
    line.start("--set", "camera.rate_hz=4", "--set", "timing.deadline_ms=2000")
    plc.wait_for_inspected(10)
    assert plc.states[-1] == "RUNNING"

    switches[LOAD] = A_HUNDREDFOLD

    plc.wait_for_status("DEGRADED", "overload: parts become UNINSPECTED")
    plc.wait_for_inspected(3)
    switches[LOAD] = 0
    plc.wait_for_status("RUNNING", "the alarm is over")
    plc.wait_for_inspected(3)
    assert line.stop() == 0
    told = [status["state"] for status in plc.said["status"]]
    assert told.count("DEGRADED") == 1, f"it swings: {told}"
    lost = {r.reason for r in verify(line, plc) if r.verdict is Verdict.UNINSPECTED}
    assert lost <= {Reason.OVERLOAD, Reason.DEADLINE}
    assert lost
