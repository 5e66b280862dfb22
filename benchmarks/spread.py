"""A figure over the rounds of a benchmark: its median and its range."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds."""

    median: float
    least: float
    most: float

    def text(self, digits: int = 2, times: float = 1.0) -> str:
        """`median (least to most)`, each multiplied by `times`, as for another unit."""
        values = self.median, self.least, self.most
        median, least, most = (f"{value * times:.{digits}f}" for value in values)
        return f"{median} ({least} to {most})"


def spread(values: Sequence[float]) -> Spread:
    """The median and the range of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))
