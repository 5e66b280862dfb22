"""What the ratio of line and bare loop prints and keeps, from laid-out runs."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import line_ratio
from benchmarks.line_choice import LineChoice
from benchmarks.line_figures import Run
from benchmarks.line_ratio import DRAWN, SHOWN, measure_ratio
from heard_arrivals import arrival
from pipeline.config_file import line_file

BARE = {
    "device": "cpu",
    "dtype": "bfloat16",
    "threads": 2,
    "batch": 8,
    "images_per_second": 40.0,
    **{
        f"{name}_ms_p{share}": share + more
        for share in (50, 90, 99)
        for name, more in (("batch", 100.0), ("alone", 0.0))
    },
}
HOP = {"p50": 1.0, "p90": 2.0, "p99": 3.0}


class Lines:
    """In place of real lines: what each was asked for, and figures that follow from it."""

    def __init__(self) -> None:
        self.parts: list[int | None] = []
        self.full: list[tuple[int, bool]] = []

    def unwatched(self, _choice: LineChoice, parts: int, *, shown: bool = False) -> dict[str, Any]:
        self.full.append((parts, shown))
        return self._summary(44.0 if shown else 32.0)

    def run(self, _choice: LineChoice, _settings: object, *, parts: int | None = None) -> Run:
        self.parts.append(parts)
        took = [arrival(number, 100 * number, 150) for number in range(1, 11)]
        return Run(self._summary(16.0), took)

    def _summary(self, rate: float) -> dict[str, Any]:
        return {
            "parts_per_second": rate,
            "verdicts": {"UNINSPECTED": 0},
            "latency_ms": {"decision": HOP, "end_to_end": HOP},
        }


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    lines = Lines()
    monkeypatch.setattr(line_ratio, "bare_loop", lambda _choice, _batches: BARE)
    monkeypatch.setattr(line_ratio, "unwatched_line", lines.unwatched)
    monkeypatch.setattr(line_ratio, "run_line", lines.run)
    return lines


def test_a_round_has_the_ratio_with_drawing_and_the_one_without(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measure_ratio(LineChoice(line_file(3), ()), 2, 400, [80.0], 8)
    assert {name: found.ratios[name].median for name in (DRAWN, SHOWN)} == {DRAWN: 0.8, SHOWN: 1.1}
    assert lines.full == [(400, False), (400, True)] * 2
    rounds = capsys.readouterr().err.splitlines()
    assert (
        rounds
        == [
            "bare loop 40.0/s; line that draws its parts 32.0/s, ratio 0.80; parts drawn "
            "beforehand 44.0/s, ratio 1.10"
        ]
        * 2
    )
    assert [one["parts_per_second"] for one in found.content["line_drawn_beforehand"]] == [44.0] * 2
    rows = {line.split("   ")[0]: line for line in found.text.splitlines()}
    assert "ratio 0.80" in rows["whole line, drawing its parts"]
    assert "ratio 1.10" in rows["whole line, parts drawn beforehand"]
    assert "batch p50 150, p90 190, p99 199 ms; one image p50 50, p90 90, p99 99 ms" in found.text


def test_each_load_is_measured_with_all_parts(lines: Lines) -> None:
    measure_ratio(LineChoice(line_file(3), ()), 1, 400, [80.0], 8)
    assert lines.parts == [400, 400]


def test_hops_have_all_three_percentiles(lines: Lines) -> None:
    text = measure_ratio(LineChoice(line_file(3), ()), 1, 400, [80.0], 8).text
    (row,) = [line.split() for line in text.splitlines() if line.startswith("decision")]
    assert row == ["decision", *("1.0", "2.0", "3.0") * 2]
