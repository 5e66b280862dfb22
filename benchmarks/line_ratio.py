"""The whole line against the bare loop, and its latency by load, as its PLC sees it."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.line_choice import LineChoice, bare_loop
from benchmarks.line_figures import Run, inspected_ms, percentiles_of, uninspected
from benchmarks.line_report import Finding, heading
from benchmarks.line_run import PATIENT, run_line, unwatched_line
from benchmarks.spread import Spread, spread
from benchmarks.table import text_table

HALF = 50.0
"""The load whose hops are printed beside those at full load."""
LEAST_PARTS = 40
SHARES = ("p50", "p90", "p99")
DRAWN, SHOWN = "line / bare loop", "line, parts drawn beforehand / bare loop"
"""Names of the ratios: with a camera that draws the parts on the same cores, and without."""
HOPS = ("acquisition", "preprocessing", "reconstruction", "segmentation", "decision")


@dataclass(frozen=True)
class Round:
    """The bare loop, the line as fast as it takes its parts, and the line at each load.

    In `full` and at the loads the line's camera draws its parts, as it does for the user, on the
    cores that the line computes on; for `shown` a few were drawn beforehand, as for the bare loop.
    """

    bare: dict[str, Any]
    full: dict[str, Any]
    shown: dict[str, Any]
    loads: dict[float, Run]

    @property
    def drawn_ratio(self) -> float:
        """Parts per second of the line that draws its parts, of the images per second of the
        loop.
        """
        return self._of_loop(self.full)

    @property
    def shown_ratio(self) -> float:
        """The same of the line whose parts were drawn beforehand."""
        return self._of_loop(self.shown)

    def _of_loop(self, summary: Mapping[str, Any]) -> float:
        return float(summary["parts_per_second"] / self.bare["images_per_second"])


def measure_ratio(
    choice: LineChoice, rounds: int, parts: int, loads: Sequence[float], batch: int
) -> Finding:
    """Rounds of bare loop, line at full speed, drawing its parts and with parts drawn beforehand,
    and line at each load, in percent of the first of these speeds.

    At full speed nobody reads the verdicts; at a load they are read as a PLC reads them. Raises
    LineError where a line fails, or does not inspect a part at full speed.
    """
    wanted = sorted({*loads, HALF})
    done = [_round(choice, parts, wanted, batch) for _ in range(rounds)]
    batches = [one.bare["batch_ms_p50"] for one in done]
    ratios = {
        DRAWN: spread([one.drawn_ratio for one in done]),
        SHOWN: spread([one.shown_ratio for one in done]),
    }
    ratios |= {f"p50 at {load:g} % / batch": _of_batch(done, load) for load in wanted}
    content = {
        "bare": [one.bare for one in done],
        "line": [one.full for one in done],
        "line_drawn_beforehand": [one.shown for one in done],
        "half_load": done[-1].loads[HALF].summary,
        "loads": [_load_content(done, load) for load in wanted],
    }
    texts = [_ratio_text(done, ratios), _hops_text(done[-1])]
    texts.append(_load_text(done, wanted, statistics.median(batches)))
    return Finding(content, "\n\n".join(texts), ratios)


def _round(choice: LineChoice, parts: int, loads: Sequence[float], batch: int) -> Round:
    bare = bare_loop(choice, max(5, parts // batch // 2))
    full = unwatched_line(choice, parts)
    shown = unwatched_line(choice, parts, shown=True)
    rate = full["parts_per_second"]
    runs = {}
    for load in loads:
        settings = {**PATIENT, "camera.rate_hz": f"{rate * load / 100:.3f}"}
        runs[load] = run_line(choice, settings, parts=max(LEAST_PARTS, parts))
    done = Round(bare, full, shown, runs)
    print(_round_text(done), file=sys.stderr, flush=True)
    return done


def _round_text(one: Round) -> str:
    return (
        f"bare loop {one.bare['images_per_second']:.1f}/s; line that draws its parts "
        f"{one.full['parts_per_second']:.1f}/s, ratio {one.drawn_ratio:.2f}; parts drawn "
        f"beforehand {one.shown['parts_per_second']:.1f}/s, ratio {one.shown_ratio:.2f}"
    )


def _of_batch(rounds: Sequence[Round], load: float) -> Spread:
    """p50 from capture to the verdict's arrival, as a multiple of the bare loop's batch."""
    return spread(
        [
            percentiles_of(inspected_ms(one.loads[load].arrivals)).p50 / one.bare["batch_ms_p50"]
            for one in rounds
        ]
    )


def _load_content(rounds: Sequence[Round], load: float) -> dict[str, Any]:
    return {"load_percent": load, "rounds": [one.loads[load].content() for one in rounds]}


def _ratio_text(rounds: Sequence[Round], ratios: Mapping[str, Spread]) -> str:
    first, count = rounds[0].bare, len(rounds)
    loop = statistics.median(one.bare["images_per_second"] for one in rounds)
    drawn = statistics.median(one.full["parts_per_second"] for one in rounds)
    shown = statistics.median(one.shown["parts_per_second"] for one in rounds)
    batch, alone = (
        ", ".join(f"p{share} {first[f'{name}_ms_p{share}']:.0f}" for share in (50, 90, 99))
        for name in ("batch", "alone")
    )
    return "\n".join(
        (
            heading(first),
            f"bare loop, {first['threads']} threads{' ' * 17}{loop:6.1f} images/s   "
            f"batch {batch} ms; one image {alone} ms",
            f"whole line, drawing its parts        {drawn:6.1f} parts/s    "
            f"ratio {_ranged(ratios[DRAWN], count)}",
            f"whole line, parts drawn beforehand   {shown:6.1f} parts/s    "
            f"ratio {_ranged(ratios[SHOWN], count)}",
        )
    )


def _ranged(ratio: Spread, rounds: int) -> str:
    return f"{ratio.median:.2f} ({ratio.least:.2f} to {ratio.most:.2f} over {rounds} rounds)"


def _hops_text(last: Round) -> str:
    """Where the time goes in the line, by its own clock, of the last round."""
    runs = (last.full, last.loads[HALF].summary)
    names = sorted(last.full["latency_ms"], key=_order)
    wide = 2 + max(len(name) for name in names)
    lines = [
        f"{'hop, ms':{wide}}{'at full load':>30}{'at half load':>30}",
        f"{'':{wide}}" + "".join(f"{share:>10}" for share in 2 * SHARES),
    ]
    for name in names:
        figures = [run["latency_ms"][name][share] for run in runs for share in SHARES]
        lines.append(f"{name:{wide}}" + "".join(f"{figure:10.1f}" for figure in figures))
    return "\n".join(lines)


def _order(name: str) -> int:
    """Stages that share processes stand where the first of them would."""
    first = name.partition("+")[0]
    return HOPS.index(first) if first in HOPS else len(HOPS)


def _load_text(rounds: Sequence[Round], loads: Sequence[float], batch_ms: float) -> str:
    columns = ("load", "parts/s", "parts", "p50 ms", "p90 ms", "p99 ms", "p99 - batch ms")
    rows = [_load_row(rounds, load, batch_ms) for load in loads]
    return "from capture to the verdict at an MQTT reader, all rounds together\n\n" + text_table(
        (*columns, "p50 / batch", "uninspected"), rows
    )


def _load_row(rounds: Sequence[Round], load: float, batch_ms: float) -> list[str]:
    arrivals = [arrival for one in rounds for arrival in one.loads[load].arrivals]
    found = percentiles_of(inspected_ms(arrivals))
    rate = statistics.median(one.loads[load].rate for one in rounds)
    return [
        f"{load:g} %",
        f"{rate:.1f}",
        str(len(arrivals)),
        f"{found.p50:.1f}",
        f"{found.p90:.1f}",
        f"{found.p99:.1f}",
        f"{found.p99 - batch_ms:+.1f}",
        _of_batch(rounds, load).text(),
        str(sum(uninspected(arrivals).values())),
    ]
