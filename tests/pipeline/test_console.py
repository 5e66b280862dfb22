"""The terminal: one plain sentence, or a table, with what an operator must see."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.console import PLAIN_PERIOD_S, PlainLines, onlooker, plain_line, render
from pipeline.control import LineState, LineStatistics, Percentiles
from pipeline.line_view import LineView, StageView
from pipeline.messages import Verdict
from pipeline.telemetry import GpuReading

STATISTICS = LineStatistics(
    announced=120,
    verdicts={Verdict.PASS: 100, Verdict.REJECT: 15, Verdict.UNINSPECTED: 5},
    reasons={},
    latency_ms={"end_to_end": Percentiles(180.4, 250.0, 402.6)},
    parts_per_second=5.9,
    truth=None,
    bundle_id="b",
    calibration_id="c",
)
VIEW = LineView(
    line=3,
    name="Brushed [bold]plates",
    state=LineState.RUNNING,
    cause="all processes are ready",
    session="s",
    running_s=3725.4,
    parts_per_second=6.04,
    statistics=STATISTICS,
    stages=(
        StageView("acquisition", "ready", 0, 240, 0, 0, 0, 61.2, 1.5, 2.25),
        StageView("decision", "starting", 235, 9, 7, 2, 1, 82.0, None, None),
        StageView("segmentation.1", "ended", 0, 0, 0, 0, 5, 0.0, None, None),
    ),
    gpus=(GpuReading("NVIDIA H200", 37, 1234.0, 45, 210.4),),
    warnings=("MQTT broker away since 07:15:02",),
)


def shown(view: LineView) -> str:
    console = Console(file=io.StringIO(), record=True, width=120)
    console.print(render(view))
    return console.export_text()


def test_the_plain_line_is_one_sentence_with_all_counts() -> None:
    assert plain_line(VIEW) == (
        "line 3 RUNNING: all processes are ready | parts 120 PASS 100 REJECT 15 UNINSPECTED 5 | "
        "6.0/s | p50 180 ms p99 403 ms | not ready: decision, segmentation.1 | "
        "MQTT broker away since 07:15:02"
    )


def test_the_plain_line_before_the_first_verdict() -> None:
    early = replace(VIEW, statistics=None, warnings=(), stages=VIEW.stages[:1])
    assert plain_line(early) == (
        "line 3 RUNNING: all processes are ready | parts 0 PASS 0 REJECT 0 UNINSPECTED 0 | "
        "6.0/s | no verdict yet"
    )


def test_the_table_shows_state_counts_rate_and_latency() -> None:
    head, totals, *_ = shown(VIEW).splitlines()
    assert head.split("   ") == [
        "Line 3 Brushed [bold]plates",
        "RUNNING  all processes are ready",
        "1:02:05",
    ]
    for text in ("parts 120", "PASS 100", "REJECT 15", "UNINSPECTED 5", "6.0 parts/s"):
        assert text in totals
    assert totals.rstrip().endswith("p50 180 ms  p99 403 ms")


def test_the_table_has_a_row_for_each_process() -> None:
    rows = {line.split()[0]: line.split()[1:] for line in shown(VIEW).splitlines()[3:6]}
    assert rows == {
        "acquisition": ["ready", "0", "240", "0", "0", "0", "1.5", "2.2", "61"],
        "decision": ["starting", "235", "9", "7", "2", "1", "82"],
        "segmentation.1": ["ended", "0", "0", "0", "0", "5", "0"],
    }


def test_the_table_shows_copies_and_computing_on_a_device() -> None:
    stage = StageView("reconstruction", "ready", 9, 9, 0, 0, 0, 900.0, 30.0, 40.0, 7.5, 1.25, 20.5)
    _, _, titles, row = shown(replace(VIEW, stages=(stage,), gpus=(), warnings=())).splitlines()
    assert "copy ms  device ms" in titles
    assert row.split()[-5:] == ["30.0", "40.0", "1.2", "20.5", "900"]


def test_the_table_ends_with_gpus_and_warnings() -> None:
    *_, gpu, warning = shown(VIEW).rstrip().splitlines()
    assert gpu.split(":")[0] == "NVIDIA H200"
    for text in ("37 %", "1234 MB", "45 °C", "210 W"):
        assert text in gpu
    assert warning == "! MQTT broker away since 07:15:02"


@pytest.mark.parametrize("state", LineState)
def test_every_state_can_be_shown(state: LineState) -> None:
    view = replace(VIEW, state=state, statistics=None, stages=(), gpus=(), warnings=())
    assert state.value in shown(view)
    assert "no verdict yet" in shown(view)


def test_plain_lines_come_with_news_and_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = [0.0]
    lines = PlainLines(clock=lambda: now_s[0])

    def printed(view: LineView) -> int:
        lines.show(view)
        return len(capsys.readouterr().out.splitlines())

    assert printed(VIEW) == 1
    assert printed(replace(VIEW, parts_per_second=7.0)) == 0
    assert printed(replace(VIEW, state=LineState.DEGRADED)) == 1
    assert printed(replace(VIEW, state=LineState.DEGRADED, warnings=())) == 1
    now_s[0] += PLAIN_PERIOD_S - 0.1
    assert printed(replace(VIEW, state=LineState.DEGRADED, warnings=())) == 0
    now_s[0] += 0.1
    assert printed(replace(VIEW, state=LineState.DEGRADED, warnings=())) == 1


def test_without_a_terminal_lines_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    with onlooker(plain=False) as view:
        view.show(VIEW)
    assert capsys.readouterr().out == plain_line(VIEW) + "\n"
