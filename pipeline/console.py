"""The line on a terminal: a live table where there is one, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.control import LineState
from pipeline.line_view import LineView
from pipeline.messages import Verdict
from pipeline.supervisor import Onlooker
from pipeline.telemetry import gpu_text

PLAIN_PERIOD_S = 5.0
_STATE_STYLE = {
    LineState.RUNNING: "bold green",
    LineState.DEGRADED: "bold yellow",
    LineState.PAUSED: "bold cyan",
    LineState.READY: "bold cyan",
    LineState.FAULT: "bold red",
}
_HEALTH_STYLE = {"ready": "green", "starting": "yellow", "silent": "yellow", "ended": "red"}


class LiveTable:
    """Redraws the line in place. `last` is the newest view."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, view: LineView) -> None:
        """Redraw."""
        self._live.update(render(view), refresh=True)


class PlainLines:
    """One line at each change of state and every few seconds, for files and pipes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shown: tuple[LineState, str, tuple[str, ...]] | None = None
        self._shown_s = 0.0

    def show(self, view: LineView) -> None:
        """Print a line if it is time for one."""
        now_s, news = self._clock(), (view.state, view.cause, view.warnings)
        if news == self._shown and now_s - self._shown_s < PLAIN_PERIOD_S:
            return
        self._shown, self._shown_s = news, now_s
        print(plain_line(view), flush=True)


@contextmanager
def onlooker(plain: bool) -> Iterator[Onlooker]:
    """A live table on a terminal, plain lines elsewhere or if `plain`."""
    if plain or not sys.stdout.isatty():
        yield PlainLines()
        return
    with Live(console=Console(), auto_refresh=False, transient=False) as live:
        yield LiveTable(live)


def plain_line(view: LineView) -> str:
    """The line in one sentence."""
    parts = view.statistics.announced if view.statistics else 0
    counts = " ".join(f"{verdict} {view.count(verdict)}" for verdict in Verdict)
    latency = view.statistics.latency_ms.get("end_to_end") if view.statistics else None
    speed = f"p50 {latency.p50:.0f} ms p99 {latency.p99:.0f} ms" if latency else "no verdict yet"
    waiting = [stage.name for stage in view.stages if stage.health != "ready"]
    health = f" | not ready: {', '.join(waiting)}" if waiting else ""
    warnings = "".join(f" | {warning}" for warning in view.warnings)
    return (
        f"line {view.line} {view.state}: {view.cause} | parts {parts} {counts} | "
        f"{view.parts_per_second:.1f}/s | {speed}{health}{warnings}"
    )


def render(view: LineView) -> Group:
    """The line as a table for a terminal."""
    head = Text.assemble(
        (f"Line {view.line} ", "bold"),
        f"{view.name}   ",
        (view.state.value, _STATE_STYLE.get(view.state, "bold")),
        f"  {view.cause}   {_duration(view.running_s)}",
    )
    return Group(head, _totals(view), _stages(view), *_gpus(view), *_warnings(view))


def _totals(view: LineView) -> Text:
    parts = view.statistics.announced if view.statistics else 0
    latency = view.statistics.latency_ms.get("end_to_end") if view.statistics else None
    speed = f"p50 {latency.p50:.0f} ms  p99 {latency.p99:.0f} ms" if latency else "no verdict yet"
    return Text.assemble(
        f"parts {parts}   ",
        (f"PASS {view.count(Verdict.PASS)}", "green"),
        "   ",
        (f"REJECT {view.count(Verdict.REJECT)}", "red"),
        "   ",
        (f"UNINSPECTED {view.count(Verdict.UNINSPECTED)}", "yellow"),
        f"   {view.parts_per_second:.1f} parts/s   capture to verdict {speed}",
    )


def _stages(view: LineView) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("stage", min_width=16)
    table.add_column("health", min_width=8)
    for title in (
        "in",
        "out",
        "queue",
        "batch",
        "failed",
        "restarts",
        "hop p50 ms",
        "p99 ms",
        "copy ms",
        "device ms",
        "MB",
    ):
        table.add_column(title, justify="right")
    for stage in view.stages:
        table.add_row(
            stage.name,
            Text(stage.health, _HEALTH_STYLE[stage.health]),
            str(stage.received),
            str(stage.sent),
            str(stage.queued),
            "" if stage.batch is None else f"{stage.batch:.1f}",
            str(stage.failed),
            str(stage.restarts),
            *map(_ms, (stage.p50_ms, stage.p99_ms, stage.copy_ms, stage.device_ms)),
            f"{stage.resident_mb:.0f}",
        )
    return table


def _ms(time_ms: float | None) -> str:
    return "" if time_ms is None else f"{time_ms:.1f}"


def _gpus(view: LineView) -> list[Text]:
    return [Text(gpu_text(gpu)) for gpu in view.gpus]


def _warnings(view: LineView) -> list[Text]:
    return [Text(f"! {warning}", "yellow") for warning in view.warnings]


def _duration(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"
