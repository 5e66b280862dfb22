"""What the tests of acquisition share: a clock that the test moves."""

from __future__ import annotations

import pytest


class FakeClock:
    """Stands still until the test moves it."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns + 10**18


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
