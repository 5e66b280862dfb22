"""Parts through the networks in batches: the same calls as the line's two processes make."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from stages.inspector import Inspection, Inspector


class Pictured(Protocol):
    """Anything with an `image` (H, W, C) uint8 of the networks' size."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """The prepared image."""
        ...


P = TypeVar("P", bound=Pictured)


@dataclass(frozen=True)
class InspectedBatch(Generic[P]):
    """Parts and what the networks say of them; `seconds` that the networks took."""

    parts: Sequence[P]
    inspection: Inspection
    seconds: float


def inspect_in_batches(
    inspector: Inspector, parts: Iterable[P], batch_size: int
) -> Iterator[InspectedBatch[P]]:
    """All parts through the networks, `batch_size` at a time; the last batch may be smaller."""
    batch: list[P] = []
    for part in parts:
        batch.append(part)
        if len(batch) == batch_size:
            yield _inspected(inspector, batch)
            batch = []
    if batch:
        yield _inspected(inspector, batch)


def score_parts(
    inspector: Inspector, parts: Iterable[Pictured], batch_size: int, advance: Callable[[int], None]
) -> NDArray[np.float64]:
    """Raw scores (N,) of the parts; `advance` is told how many more are done."""
    scores: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
    for batch in inspect_in_batches(inspector, parts, batch_size):
        scores.append(batch.inspection.scores)
        advance(len(batch.parts))
    return np.concatenate(scores).astype(np.float64)


def _inspected(inspector: Inspector, batch: Sequence[P]) -> InspectedBatch[P]:
    images = np.stack([part.image for part in batch])
    start = time.perf_counter()
    inspection = inspector.inspect(images)
    return InspectedBatch(tuple(batch), inspection, time.perf_counter() - start)
