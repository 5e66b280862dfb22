"""Batches for the networks: views of normal images, some with anomalies painted on them.

A batch depends on its order alone, so it can be painted before it is wanted: on a GPU the next one
is painted in a thread of its own while the networks compute. On a CPU both would want the same
cores, and each batch is painted when it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from training.augment import ViewSource
from training.randomness import Randomness, Use
from training.synthesis import Batch, Synthesizer


@dataclass(frozen=True)
class Order:
    """The `number`-th batch for its `use`: `whole` whole images, or the views of the settings.

    The last `painted` of them are painted, by default half.
    """

    use: Use
    number: int
    whole: int | None = None
    painted: int | None = None


class Painter:
    """Paints to order; with `ahead` also what will probably be ordered next.

    `spent_s` is the time in seconds for which all orders together kept the caller waiting.
    """

    def __init__(
        self,
        source: ViewSource,
        synthesizer: Synthesizer,
        randomness: Randomness,
        ahead: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.spent_s = 0.0
        self._source, self._synthesizer = source, synthesizer
        self._randomness, self._clock = randomness, clock
        self._thread = ThreadPoolExecutor(1, "painter") if ahead else None
        self._following: dict[Use, tuple[Order, Future[Batch]]] = {}

    def paint(self, order: Order) -> Batch:
        """The batch of this order, on the CPU; the same for the same order, always."""
        started = self._clock()
        batch = self._paint(order) if self._thread is None else self._fetch(order, self._thread)
        self.spent_s += self._clock() - started
        return batch

    def _fetch(self, order: Order, thread: ThreadPoolExecutor) -> Batch:
        """From the thread, which goes on to the next number; a wrong guess is forgotten."""
        guess, batch = self._following.pop(order.use, (None, None))
        if batch is None or guess != order:
            batch = thread.submit(self._paint, order)
        following = replace(order, number=order.number + 1)
        self._following[order.use] = following, thread.submit(self._paint, following)
        return batch.result()

    def _paint(self, order: Order) -> Batch:
        rng = self._randomness.generator(order.use, order.number)
        if order.whole is None:
            views = self._source.draw(rng)
        else:
            views = self._source.draw_whole(rng, order.whole)
        return self._synthesizer.batch(
            views.normals, views.foregrounds, rng, views.whole, order.painted
        )
