"""Batches with deadlines in whole lines, played with a clock of their own."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from pipeline.batching import TRIAL_NS, Batcher, BatchRecord, Costs, expected_ns
from pipeline.config import Batch
from pipeline.control import BatchCosts

MS, S = 1_000_000, 1_000_000_000


@dataclass
class Stage:
    """A stage of the played line; `takes` gives a batch's duration by its size and the time."""

    batch: Batch
    takes: Callable[[int, int], int]
    together: bool = True
    room: int = 16
    inbox: deque[int] = field(default_factory=deque)
    ready: deque[int] = field(default_factory=deque)
    in_hand: list[int] = field(default_factory=list)
    free_ns: int = 0

    def __post_init__(self) -> None:
        self.costs = Costs()
        self.record = BatchRecord(self.costs)
        self.batcher = Batcher[int](self.batch, self.costs, together=self.together)


class Line:
    """Stages in a row, bounded queues between them, and what became of each part."""

    def __init__(self, *stages: Stage, deadline_ms: int) -> None:
        self.stages, self.deadline_ns, self.now_ns = stages, deadline_ms * MS, 0
        self.fate: dict[int, tuple[str, int]] = {}
        self.taken_in_ns: dict[tuple[int, int], int] = {}
        self.tables: list[BatchCosts] = [() for _ in stages]
        self.told_ns = 0

    def play(self, arrivals_ns: Iterable[int]) -> Line:
        """Until every part has its fate: `made`, `late`, `refused`, or `no room`."""
        self.captured_ns = list(arrivals_ns)
        coming = deque(range(len(self.captured_ns)))
        while len(self.fate) < len(self.captured_ns):
            self.now_ns = max(self.now_ns + 1, self._next_ns(coming))
            self._arrive(coming)
            self._tell()
            for place in list(reversed(range(len(self.stages)))) * len(self.stages):
                self._finish(place)
                self._begin(place)
        return self

    def counts(self, from_s: float = 0, to_s: float = 1e9) -> Counter[str]:
        """Fates of the parts that were captured in this time."""
        return Counter(
            fate
            for part, (fate, _) in self.fate.items()
            if from_s * S <= self.captured_ns[part] < to_s * S
        )

    def made_in_turn(self, every_s: int) -> list[int]:
        """Parts that were made in each whole stretch of so many seconds."""
        stretch_ns = every_s * S
        made = Counter(ns // stretch_ns for fate, ns in self.fate.values() if fate == "made")
        return [made[stretch] for stretch in range(self.now_ns // stretch_ns)]

    def _arrive(self, coming: deque[int]) -> None:
        while coming and self.captured_ns[coming[0]] <= self.now_ns:
            part, first = coming.popleft(), self.stages[0]
            if len(first.inbox) < first.room:
                first.inbox.append(part)
            else:
                self.fate[part] = "no room", self.now_ns

    def _tell(self) -> None:
        """Every quarter of a second the costs of a stage are known to the others."""
        if self.now_ns - self.told_ns >= 250 * MS:
            self.told_ns = self.now_ns
            self.tables = [stage.costs.table for stage in self.stages]

    def _finish(self, place: int) -> None:
        stage = self.stages[place]
        if stage.in_hand and stage.free_ns <= self.now_ns:
            for part in stage.in_hand:
                stage.record.end(part, self.now_ns)
            stage.ready.extend(stage.in_hand)
            stage.in_hand = []
        after = self.stages[place + 1] if place + 1 < len(self.stages) else None
        while stage.ready and (after is None or len(after.inbox) < after.room):
            part = stage.ready.popleft()
            if after is not None:
                after.inbox.append(part)
            else:
                made = self.now_ns <= self._limit_ns(part)
                self.fate[part] = "made" if made else "late", self.now_ns

    def _begin(self, place: int) -> None:
        stage = self.stages[place]
        if stage.in_hand or stage.ready:
            return
        while stage.inbox and stage.batcher.room(self.now_ns):
            part = stage.inbox.popleft()
            self.taken_in_ns[place, part] = self.now_ns
            stage.batcher.add(part, self._limit_ns(part), self.now_ns)
        later = self.tables[place + 1 :]
        step = stage.batcher.step(self.now_ns, later)
        self.check(place, step.batch)
        for refused in step.refused:
            self.fate[refused.item] = "refused", self.now_ns
        if step.batch:
            stage.record.begin(step.batch, self.now_ns)
            stage.in_hand = step.batch
            stage.free_ns = self.now_ns + stage.takes(len(step.batch), self.now_ns)

    def check(self, place: int, batch: list[int]) -> None:
        """Called with every batch that leaves, and with [] where none does."""

    def _limit_ns(self, part: int) -> int:
        return self.captured_ns[part] + self.deadline_ns

    def _next_ns(self, coming: deque[int]) -> int:
        moments = [self.captured_ns[coming[0]]] if coming else []
        for stage in self.stages:
            if stage.in_hand:
                moments.append(stage.free_ns)
            elif not stage.ready:
                moments.append(stage.batcher.due_ns)
        return min(moments)


def steady(rate_hz: float, from_s: float, to_s: float) -> list[int]:
    return [int((from_s + n / rate_hz) * S) for n in range(int((to_s - from_s) * rate_hz))]


def network(first_ms: float, more_ms: float, seed: int = 0) -> Callable[[int, int], int]:
    """A batch takes so long for its first part and for each further one, and a little by chance."""
    rng = random.Random(seed)
    return lambda parts, _now_ns: int(
        (first_ms + more_ms * (parts - 1)) * rng.uniform(0.95, 1.1) * MS
    )


def cap_line(deadline_ms: int, line: type[Line] = Line, size: int = 8) -> Line:
    """Like line 3 on two cores: 24 parts a second, one alone in about 90 ms."""
    return line(
        Stage(Batch(size=16, max_wait_ms=0), network(2, 2, 1), together=False),
        Stage(Batch(size=size, max_wait_ms=30), network(60, 39, 2)),
        Stage(Batch(size=size, max_wait_ms=0), network(20, 13, 3)),
        deadline_ms=deadline_ms,
    )


class Checked(Line):
    """No part waits too long, and none is computed that is too late, but for one a second."""

    def __init__(self, *stages: Stage, deadline_ms: int) -> None:
        super().__init__(*stages, deadline_ms=deadline_ms)
        self.tried_ns = [-TRIAL_NS for _ in stages]

    def check(self, place: int, batch: list[int]) -> None:
        stage, later = self.stages[place], self.tables[place + 1 :]
        max_wait_ns = stage.batch.max_wait_ms * MS
        for part in stage.batcher._waiting if not batch else ():
            assert self.now_ns - self.taken_in_ns[place, part.item] < max_wait_ns
        parts = len(batch) if stage.together else 1
        tables = [stage.costs.table, *later]
        needed_ns = sum(expected_ns(table, parts) for table in tables)
        if any(self._limit_ns(part) - self.now_ns < needed_ns for part in batch):
            assert len(batch) == 1
            assert self._limit_ns(batch[0]) > self.now_ns
            assert self.now_ns - self.tried_ns[place] >= TRIAL_NS
            self.tried_ns[place] = self.now_ns


@pytest.mark.parametrize("seed", range(12))
def test_nobody_waits_too_long_and_nothing_is_computed_in_vain(seed: int) -> None:
    rng = random.Random(seed)
    moment_ns, arrivals = 0, []
    for _ in range(400):
        rate_hz = rng.choice([3, 15, 40, 200])
        moment_ns += int(rng.expovariate(rate_hz) * S)
        arrivals.append(moment_ns)
    line = cap_line(rng.choice([150, 300, 600, 2000]), Checked, size=rng.choice([1, 3, 8, 32]))
    counts = line.play(arrivals).counts()
    assert counts.total() == 400
    assert counts["made"] > 0


@pytest.mark.parametrize(("deadline_ms", "share"), [(250, 0.75), (500, 0.88), (1000, 0.92)])
def test_an_overload_costs_little_speed_and_does_not_swing(deadline_ms: int, share: float) -> None:
    arrivals = steady(36, 0, 20)
    at_leisure = cap_line(60_000).play(arrivals).counts()["made"]
    line = cap_line(deadline_ms, Checked).play(arrivals)
    counts = line.counts()
    assert counts["refused"] > 0
    assert counts["late"] <= 0.01 * counts["made"]
    assert counts["made"] >= share * at_leisure
    settled = line.made_in_turn(every_s=2)[1:]
    usual = sum(settled) / len(settled)
    assert min(settled) > 0.75 * usual
    assert max(settled) < 1.25 * usual


@pytest.mark.parametrize("deadline_ms", [250, 500, 1000])
def test_after_an_overload_the_line_recovers_within_a_second(deadline_ms: int) -> None:
    line = cap_line(deadline_ms)
    line.play(steady(12, 0, 5) + steady(36, 5, 15) + steady(12, 15, 30))
    assert set(line.counts(0, 5)) == {"made"}
    assert line.counts(5, 15)["refused"] > 50
    assert set(line.counts(16, 30)) == {"made"}


@pytest.mark.parametrize(("slow", "times"), [(0, 400), (1, 40), (2, 40)])
def test_a_stage_that_was_too_slow_for_every_part_is_tried_again(slow: int, times: int) -> None:
    line = cap_line(500)
    stage, usual = line.stages[slow], line.stages[slow].takes
    stage.takes = lambda parts, now_ns: (
        (times if 5 * S < now_ns < 15 * S else 1) * usual(parts, now_ns)
    )
    line.play(steady(12, 0, 40))
    assert line.counts(5, 14)["made"] <= 3
    assert line.counts(5, 14)["refused"] > 50
    assert set(line.counts(21, 40)) == {"made"}


def test_a_stage_that_begins_slowly_is_not_given_up() -> None:
    line = cap_line(500)
    stage, usual = line.stages[1], line.stages[1].takes
    stage.takes = lambda parts, now_ns: 3 * S if now_ns < S else usual(parts, now_ns)
    line.play(steady(12, 0, 15))
    assert set(line.counts(5, 15)) == {"made"}
