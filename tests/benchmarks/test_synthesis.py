from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.synthesis import main
from stages.model_profiles import PROFILES
from tiny_profile import TINY
from training.synthesis import AnomalyKind

SHORT = ("--profile", "tiny", "--input-px", "128", "--device", "cpu", "--threads", "1")
FEW = ("--repeats", "2", "--steps", "1")


@pytest.mark.usefixtures("one_thread")
def test_every_kind_is_timed_and_painting_is_a_share_of_every_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROFILES, "tiny", TINY)
    file = tmp_path / "synthesis.json"

    assert main([*SHORT, *FEW, "--json", str(file)]) == 0

    shown, found = capsys.readouterr().out, json.loads(file.read_text())
    assert set(found["painting_ms"]) == {*AnomalyKind, "image of a batch"}
    for cost in found["painting_ms"].values():
        assert 0.0 < cost["ms_p50"] <= cost["ms_p99"]
    assert list(found["steps"]) == ["both networks", "pool filling", "pool full"]
    for step in found["steps"].values():
        assert 0.0 < step["share"] < 1.0
        assert step["share"] == pytest.approx(step["painting_ms"] / step["step_ms"])
    assert (found["profile"], found["input_px"]) == ("tiny", 128)
    assert all(name in shown for name in (*found["painting_ms"], *found["steps"]))
