"""Times in which the checks must know that something was unusual."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Spans:
    """Times by their first and last moment, in seconds of the monotonic clock."""

    _spans: list[tuple[float, float]] = field(default_factory=list)

    def add(self, from_s: float, to_s: float) -> None:
        """One more of them."""
        self._spans.append((from_s, to_s))

    def __contains__(self, at_s: float) -> bool:
        return any(from_s <= at_s <= to_s for from_s, to_s in self._spans)
