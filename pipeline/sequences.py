"""A set of parts' numbers, kept as ranges: an outage of hours is a few pairs of numbers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

Range = tuple[int, int]
"""First and last number, both included."""


class Sequences:
    """A set of whole numbers; adding and taking away cost the number of ranges, not of members."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The members as ranges, in order; no two of them touch."""
        return tuple(zip(self._first, self._last, strict=True))

    def add(self, first: int, last: int | None = None) -> None:
        """Take in one number, or all from `first` to `last`."""
        end = first if last is None else last
        low, high = self._touching(first - 1, end + 1)
        if low < high:
            first, end = min(first, self._first[low]), max(end, self._last[high - 1])
        self._first[low:high], self._last[low:high] = [first], [end]

    def discard(self, first: int, last: int | None = None) -> None:
        """Take out one number, or all from `first` to `last`; those that are not in are ignored."""
        end = first if last is None else last
        low, high = self._touching(first, end)
        rest: list[Range] = []
        if low < high:
            rest = [(self._first[low], first - 1), (end + 1, self._last[high - 1])]
        kept = [(begin, until) for begin, until in rest if begin <= until]
        self._first[low:high] = [begin for begin, _ in kept]
        self._last[low:high] = [until for _, until in kept]

    def _touching(self, first: int, last: int) -> tuple[int, int]:
        """Which ranges share a number with `first` to `last`, as a slice."""
        low = bisect_right(self._first, first)
        if low and self._last[low - 1] >= first:
            low -= 1
        return low, max(low, bisect_right(self._first, last))

    def __contains__(self, number: int) -> bool:
        low, high = self._touching(number, number)
        return low < high

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)

    def __str__(self) -> str:
        return ", ".join(
            str(first) if first == last else f"{first}-{last}" for first, last in self.ranges
        )
