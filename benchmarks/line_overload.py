"""More parts than the line can inspect: which it keeps, what it says of the others, and how soon
it is as before.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.line_choice import LineChoice, bare_loop
from benchmarks.line_figures import complete, inspected_ms, percentiles_of, uninspected
from benchmarks.line_report import Finding, heading
from benchmarks.line_run import PATIENT, run_line
from benchmarks.shown_camera import Phase
from benchmarks.spread import spread
from benchmarks.table import text_table
from pipeline.errors import LineError
from pipeline.messages import Verdict
from plc.verdict_watch import Arrival

OVER = 1.5
"""Rate of the overload, as a multiple of the throughput."""


@dataclass(frozen=True)
class Overload:
    """One run: half load, overload, half load again; times in milliseconds.

    `inspected` and `reasons` are of the parts of the overload, `inspected_per_second` over its
    duration. `usual_ms` is the slowest part before it; `recovery_parts` and `recovery_s` lie
    between its end and the first of a batch of parts in a row that are inspected and no slower
    than that; None where there is none. `passed_late`: decided PASS after the deadline, in any
    phase; `came_late`: PASS that was in time but arrived after it.
    """

    throughput: float
    offered_per_second: float
    inspected_per_second: float
    parts: int
    inspected: int
    reasons: dict[str, int]
    before_p50_ms: float
    before_p90_ms: float
    before_p99_ms: float
    usual_ms: float
    overload_p50_ms: float | None
    overload_p90_ms: float | None
    overload_p99_ms: float | None
    recovery_parts: int | None
    recovery_s: float | None
    passed_late: int
    came_late: int
    unheard: int

    @property
    def kept(self) -> float:
        """What is inspected under overload, of the throughput without it."""
        return self.inspected_per_second / self.throughput


def measure_overload(choice: LineChoice, rounds: int, parts: int, seconds: float) -> Finding:
    """Rounds of the line at full speed, and at half of it before and after `seconds` of OVER.

    The deadline is the line's own. Raises LineError where a line fails.
    """
    batch = choice.load().batch.size
    bare = bare_loop(choice, 5)
    found = []
    for turn in range(1, rounds + 1):
        rate = _throughput(choice, parts)
        phases = phases_of(rate, seconds, batch)
        run = run_line(choice, {}, phases=phases)
        found.append(judge(run.arrivals, phases, rate, batch))
        print(f"overload, round {turn}: {found[-1]}", file=sys.stderr, flush=True)
    content = {"overload": [asdict(one) for one in found], "overload_bare": bare}
    deadline_ms = choice.load().timing.deadline_ms
    title = (
        f"half load, {seconds:g} s of {100 * OVER:.0f} % load, half load again; deadline "
        f"{deadline_ms} ms"
    )
    ratios = {"inspected under overload / throughput": spread([one.kept for one in found])}
    text = f"{heading(bare)}\n{title}\n\n{_text(found)}"
    return Finding(content, text, ratios, _faults(found))


def phases_of(rate: float, seconds: float, batch: int) -> list[Phase]:
    """Half load, overload, half load; each of at least a few batches."""
    least = 4 * batch
    half = Phase(rate / 2, max(least, round(seconds * rate / 2)))
    return [half, Phase(OVER * rate, max(least, round(seconds * OVER * rate))), half]


def judge(
    arrivals: Sequence[Arrival], phases: Sequence[Phase], throughput: float, batch: int
) -> Overload:
    """What the verdicts of one run say; `throughput` in parts per second.

    Raises LineError where nothing was inspected before the overload, or a phase was not heard of.
    """
    first, second = phases[0].parts, phases[0].parts + phases[1].parts
    before = [it for it in arrivals if it.verdict.sequence <= first]
    during = [it for it in arrivals if first < it.verdict.sequence <= second]
    after = [it for it in arrivals if it.verdict.sequence > second]
    if not (during and after):
        raise LineError("no verdict of a whole phase was heard; look at the line with run_line")
    before_ms = inspected_ms(before)
    usual, usual_ms = percentiles_of(before_ms), max(before_ms)
    in_time_ms = inspected_ms(during)
    found = percentiles_of(in_time_ms) if in_time_ms else None
    duration_s = _span_s(during[:1], after[:1])
    back = first_usual(after, usual_ms, batch)
    passes = [it for it in arrivals if it.verdict.verdict is Verdict.PASS]
    return Overload(
        throughput=throughput,
        offered_per_second=len(during) / duration_s,
        inspected_per_second=len(in_time_ms) / duration_s,
        parts=len(during),
        inspected=len(in_time_ms),
        reasons=uninspected(during),
        before_p50_ms=usual.p50,
        before_p90_ms=usual.p90,
        before_p99_ms=usual.p99,
        usual_ms=usual_ms,
        overload_p50_ms=found.p50 if found else None,
        overload_p90_ms=found.p90 if found else None,
        overload_p99_ms=found.p99 if found else None,
        recovery_parts=back,
        recovery_s=None if back is None else _span_s(after[:1], after[back : back + 1]),
        passed_late=sum(it.verdict.late for it in passes),
        came_late=sum(it.too_late and not it.verdict.late for it in passes),
        unheard=sum(phase.parts for phase in phases) - len(arrivals),
    )


def first_usual(arrivals: Sequence[Arrival], usual_ms: float, in_a_row: int) -> int | None:
    """The first place of `in_a_row` parts that are inspected and take at most `usual_ms`."""
    run = 0
    for place, arrival in enumerate(arrivals):
        latency = inspected_ms([arrival])
        run = run + 1 if latency and latency[0] <= usual_ms else 0
        if run == in_a_row:
            return place - in_a_row + 1
    return None


def _throughput(choice: LineChoice, parts: int) -> float:
    run = run_line(choice, PATIENT, phases=[Phase(None, parts)])
    return float(complete(run.summary)["parts_per_second"])


def _span_s(earlier: Sequence[Arrival], later: Sequence[Arrival]) -> float:
    """Between the captures of two parts, in seconds."""
    return later[0].captured_s - earlier[0].captured_s


def _faults(found: Sequence[Overload]) -> list[str]:
    late = sum(one.passed_late for one in found)
    lost = sum(one.unheard for one in found)
    stuck = sum(one.recovery_parts is None for one in found)
    faults = [f"{late} parts were decided PASS after their deadline"] if late else []
    faults += [f"{lost} parts got no verdict that was heard"] if lost else []
    if stuck:
        faults.append(f"the line did not recover in {stuck} of {len(found)} rounds")
    return faults


def _text(found: Sequence[Overload]) -> str:
    rows = [_row(place, one) for place, one in enumerate(found, 1)]
    table = text_table(
        (
            "round",
            "throughput",
            "offered/s",
            "inspected/s",
            "of throughput",
            "inspected",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "before, p50 ms",
            "p90 ms",
            "p99 ms",
            "recovery parts",
            "recovery s",
            "PASS late",
            "came late",
        ),
        rows,
    )
    kept = spread([one.kept for one in found])
    reasons = "\n".join(
        f"round {place}: {one.parts - one.inspected} of {one.parts} parts UNINSPECTED: "
        + (", ".join(f"{name} {count}" for name, count in one.reasons.items()) or "none")
        for place, one in enumerate(found, 1)
    )
    return f"{table}\n{reasons}\ninspected under overload, of the throughput: {kept.text()}"


def _row(place: int, one: Overload) -> list[str]:
    return [
        str(place),
        f"{one.throughput:.1f}",
        f"{one.offered_per_second:.1f}",
        f"{one.inspected_per_second:.1f}",
        f"{one.kept:.2f}",
        str(one.inspected),
        *(_figure(it, 0) for it in (one.overload_p50_ms, one.overload_p90_ms, one.overload_p99_ms)),
        *(f"{it:.0f}" for it in (one.before_p50_ms, one.before_p90_ms, one.before_p99_ms)),
        _figure(one.recovery_parts, 0),
        _figure(one.recovery_s, 2),
        str(one.passed_late),
        str(one.came_late),
    ]


def _figure(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f}"
