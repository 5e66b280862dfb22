"""When a batch leaves, which parts are in it, and which parts cannot make it any more.

What the stages after this one need is measured, not configured: every beat says what batches of
each size take at present, and the supervisor's order hands that to all stages. It counts their work
and not the waiting in their queues, since a queue is long only where parts are shed anyway, and a
stage that counted it would shed the same parts once more and swing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.config import Batch
from pipeline.control import BatchCosts, Percentiles, StageLoad
from pipeline.device_times import DeviceTimes
from pipeline.stage import NEVER_NS
from pipeline.telemetry import LatencyHistogram

T = TypeVar("T")

LATEST = 64
"""Batches whose durations are remembered."""
MEMORY_NS = 5_000_000_000
"""How long before the newest batch the oldest of them may lie."""
SHARE = 0.9
"""Share of the remembered batches of one size that took no longer than is expected."""
TRIAL_NS = 1_000_000_000
"""How often one part is tried while all are refused."""
GRAIN_NS = 1_000_000
"""The loop sleeps in whole milliseconds: a batch that is due within one leaves now."""
FULL_BATCHES = 4
"""How many of them may wait under overload, so that parts are found that still make it."""
_MOST_IN_HAND = 4096


class Costs:
    """What batches took lately, by their size; `table` is empty until the first was measured.

    One straggler does not count where there is a second measurement, and none counts for long.
    """

    def __init__(self) -> None:
        self._latest: deque[tuple[int, int, float]] = deque(maxlen=LATEST)
        self.table: BatchCosts = ()

    def learn(self, parts: int, took_ns: int, now_ns: int) -> None:
        """A batch of so many parts has just been done."""
        self._latest.append((now_ns, parts, took_ns / 1e6))
        while now_ns - self._latest[0][0] > MEMORY_NS:
            self._latest.popleft()
        by_size: defaultdict[int, list[float]] = defaultdict(list)
        for _, size, took_ms in self._latest:
            by_size[size].append(took_ms)
        self.table = tuple((size, _usual(by_size[size])) for size in sorted(by_size))


def _usual(took_ms: Sequence[float]) -> float:
    return round(sorted(took_ms)[int(SHARE * (len(took_ms) - 1))], 3)


def expected_ns(costs: BatchCosts, parts: int) -> int:
    """Time of a batch: on the line between its neighbours, beyond them in proportion.

    0 where nothing was measured. In proportion means too little for a size below all that were
    measured, where a part is rather tried than refused, and too much for one above.
    """
    if not costs:
        return 0
    above = bisect_left(costs, (parts, 0.0))
    if above == len(costs):
        size, took_ms = costs[-1]
        return int(1e6 * took_ms * parts / size)
    lower, lower_ms = costs[above - 1] if above else (0, 0.0)
    upper, upper_ms = costs[above]
    share = (parts - lower) / (upper - lower)
    return int(1e6 * (lower_ms + share * (upper_ms - lower_ms)))


def slowest(tables: Iterable[BatchCosts]) -> BatchCosts:
    """The costs of a stage with several workers: of each size those of the slowest."""
    most_ms: dict[int, float] = {}
    for table in tables:
        for parts, took_ms in table:
            most_ms[parts] = max(took_ms, most_ms.get(parts, 0.0))
    return tuple(sorted(most_ms.items()))


@dataclass(eq=False)
class _Waiting(Generic[T]):
    item: T
    limit_ns: int
    since_ns: int


@dataclass(frozen=True)
class Refused(Generic[T]):
    """A part that cannot make it: it would take `needed_ns`, and only `left_ns` are left."""

    item: T
    needed_ns: int
    left_ns: int

    def text(self, stage: str) -> str:
        """A sentence for the log and for people."""
        if self.left_ns <= 0:
            return f"the deadline had come when {stage} received the part"
        needed_ms, left_ms = self.needed_ns / 1e6, self.left_ns / 1e6
        return f"too late for {stage}: {needed_ms:.0f} ms needed from there, {left_ms:.0f} ms left"


@dataclass(frozen=True)
class Step(Generic[T]):
    """What is to be done now: `batch`, in order of arrival, computed, and `refused` answered."""

    batch: list[T]
    refused: list[Refused[T]]


class Batcher(Generic[T]):
    """The parts that a stage has taken in and not begun. Times are monotonic nanoseconds.

    `together`: whether a batch is computed as one; where it is not, whoever waits leaves at once.
    """

    def __init__(self, batch: Batch, costs: Costs, *, together: bool = True) -> None:
        self._size, self._max_wait_ns = batch.size, batch.max_wait_ms * 1_000_000
        self._costs, self._together = costs, together
        self._waiting: list[_Waiting[T]] = []
        self._later: Sequence[BatchCosts] = ()
        self._left_ns: int | None = None

    def room(self, now_ns: int) -> bool:
        """Whether one more part may be added: up to a full batch, beyond it if that is too late."""
        count = len(self._waiting)
        if count < self._size:
            return True
        limit_ns = min(part.limit_ns for part in self._waiting)
        late = limit_ns - now_ns < self._needed_ns(self._size)
        return self._together and late and count < FULL_BATCHES * self._size

    @property
    def due_ns(self) -> int:
        """When the next batch is to leave; NEVER_NS while nobody waits.

        Company is waited for only as long as one more part would not make the most urgent late;
        before anything was measured, for half of its time.
        """
        if not self._waiting:
            return NEVER_NS
        oldest_ns = self._waiting[0].since_ns
        if len(self._waiting) >= self._size:
            return oldest_ns
        limit_ns = min(part.limit_ns for part in self._waiting)
        urgent_ns = limit_ns - self._needed_ns(len(self._waiting) + 1)
        if not self._costs.table:
            urgent_ns = min(urgent_ns, (oldest_ns + limit_ns) // 2)
        return min(oldest_ns + self._max_wait_ns, urgent_ns)

    def add(self, item: T, limit_ns: int | None, now_ns: int) -> None:
        """Take in a part; `limit_ns`: when its result must be there, None if at any time."""
        limit_ns = NEVER_NS if limit_ns is None else limit_ns
        self._waiting.append(_Waiting(item, limit_ns, now_ns))

    def step(
        self, now_ns: int, later: Sequence[BatchCosts] = (), *, closing: bool = False
    ) -> Step[T]:
        """The batch that leaves now, if one does, and the parts that it or the time leaves behind.

        `later`: the costs of each stage after this one. `closing`: no company will come.
        """
        self._later = later
        batch = self._take_out(self._trial(now_ns))
        refused = self._sort_out(now_ns, 0)
        if not batch and self._waiting and (closing or self.due_ns - now_ns < GRAIN_NS):
            batch = self._take_out(self._choose(now_ns))
            refused += self._sort_out(now_ns, self._own_ns(len(batch)))
        if batch:
            self._left_ns = now_ns
        return Step(batch, refused)

    def _own_ns(self, parts: int) -> int:
        return expected_ns(self._costs.table, parts)

    def _needed_ns(self, parts: int) -> int:
        """From now to the verdicts, for a batch that is computed together to the end."""
        return self._own_ns(parts) + sum(expected_ns(costs, parts) for costs in self._later)

    def _trial(self, now_ns: int) -> list[_Waiting[T]]:
        """One part, where all are too late and nothing was computed for a while.

        What was slow may be slow no more, and only a measurement can tell; it costs nothing, since
        the stage would rest.
        """
        rests = self._left_ns is None or now_ns - self._left_ns >= TRIAL_NS
        if not self._waiting or not rests:
            return []
        last = max(self._waiting, key=lambda part: part.limit_ns)
        return [last] if 0 < last.limit_ns - now_ns < self._needed_ns(1) else []

    def _sort_out(self, now_ns: int, busy_ns: int) -> list[Refused[T]]:
        """Drop the parts that cannot make it even alone, once the stage is free again."""
        needed_ns = busy_ns + self._needed_ns(1)
        late = [part for part in self._waiting if part.limit_ns - now_ns < max(needed_ns, 1)]
        self._take_out(late)
        return [Refused(part.item, needed_ns, part.limit_ns - now_ns) for part in late]

    def _choose(self, now_ns: int) -> list[_Waiting[T]]:
        """A full batch, if all of it make it; else the urgent ones first, or as many as make it."""
        parts = sorted(self._waiting, key=lambda part: part.limit_ns)
        full = parts[: self._size]
        if not self._together or parts[0].limit_ns - now_ns >= self._needed_ns(len(full)):
            return full
        first = self._urgent_first(parts, now_ns) if full == parts else []
        return first or self._most(parts, now_ns)

    def _urgent_first(self, parts: list[_Waiting[T]], now_ns: int) -> list[_Waiting[T]]:
        """The urgent ones, if the others still make it after them; none if they do not."""
        left_ns = [part.limit_ns - now_ns for part in parts]
        for count in range(len(parts) - 1, 0, -1):
            after_ns = self._own_ns(count) + self._needed_ns(len(parts) - count)
            if left_ns[0] >= self._needed_ns(count) and left_ns[count] >= after_ns:
                return parts[:count]
        return []

    def _most(self, parts: list[_Waiting[T]], now_ns: int) -> list[_Waiting[T]]:
        """The largest batch in which all make it, of the most urgent: it costs least by the part.

        Keeping to the urgent ones under overload would end in batches of one, each just in time.
        """
        limits_ns = [part.limit_ns for part in parts]
        for count in range(min(len(parts), self._size), 1, -1):
            first = bisect_left(limits_ns, now_ns + self._needed_ns(count))
            if first + count <= len(parts):
                return parts[first : first + count]
        return parts[:1]

    def _take_out(self, parts: list[_Waiting[T]]) -> list[T]:
        taken = set(parts)
        items = [part.item for part in self._waiting if part in taken]
        self._waiting = [part for part in self._waiting if part not in taken]
        return items


@dataclass
class _InHand:
    parts: int
    left: int
    began_ns: int
    sound: bool = True


class BatchRecord:
    """The batches that were begun: what they took, what their parts waited, and how many are left.

    A stage may give the parts of a batch back with a later one; a batch takes until its last part.
    """

    def __init__(self, costs: Costs, device_times: DeviceTimes | None = None) -> None:
        self._costs = costs
        self._device_times = DeviceTimes() if device_times is None else device_times
        self._in_hand: dict[int, _InHand] = {}
        self._batches: Counter[int] = Counter()
        self._waits, self._durations = LatencyHistogram(), LatencyHistogram()
        self._refused = 0

    @property
    def busy(self) -> bool:
        """Whether parts have been begun and not come out."""
        return bool(self._in_hand)

    def begin(self, sequences: Sequence[int], now_ns: int) -> None:
        """A batch of these parts is given to the stage."""
        self._batches[len(sequences)] += 1
        batch = _InHand(len(sequences), len(set(sequences)), now_ns)
        self._in_hand.update(dict.fromkeys(sequences, batch))
        while len(self._in_hand) > _MOST_IN_HAND:
            del self._in_hand[next(iter(self._in_hand))]

    def began_ns(self, sequence: int) -> int | None:
        """When the batch of a part was begun; None for a part that is not in hand."""
        batch = self._in_hand.get(sequence)
        return batch.began_ns if batch else None

    def spoil(self, sequences: Sequence[int]) -> None:
        """The batch of these parts has failed: what it takes says nothing."""
        for sequence in sequences:
            if sequence in self._in_hand:
                self._in_hand[sequence].sound = False

    def end(self, sequence: int, now_ns: int) -> None:
        """A part has come out. One that is not in hand changes nothing."""
        batch = self._in_hand.pop(sequence, None)
        if batch is None:
            return
        batch.left -= 1
        if not batch.left and batch.sound:
            self._durations.add((now_ns - batch.began_ns) / 1e6)
            self._costs.learn(batch.parts, now_ns - batch.began_ns, now_ns)

    def waited(self, wait_ns: int) -> None:
        """A part came to the stage so long before its batch was begun."""
        self._waits.add(wait_ns / 1e6)

    def refuse(self) -> None:
        """A part was refused."""
        self._refused += 1

    def load(self) -> StageLoad:
        """What the next beat says of it."""
        return StageLoad(
            batches=dict(self._batches),
            refused=self._refused,
            wait_ms=_percentiles(self._waits),
            compute_ms=_percentiles(self._durations),
            copy_ms=self._device_times.copy_ms(),
            device_ms=self._device_times.device_ms(),
            costs_ms=self._costs.table,
        )


def _percentiles(histogram: LatencyHistogram) -> Percentiles | None:
    return histogram.percentiles() if histogram.counts() else None
