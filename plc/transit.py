"""How much later than usual a message of the line has come, without any wall clock."""

from __future__ import annotations

DRIFT = 2e-4
"""By how much two counting clocks may part in a second: ten times what quartz does."""
MOST_SESSIONS = 4


class TransitWatch:
    """Compares the receiver's counting clock with the line's, in every message that says `sentMs`.

    What both differ by in the swiftest message of a session is taken for the difference of the
    clocks, and what more it is in another one for the time that this one was held up. What holds up
    all of them alike from the first on cannot be seen.
    """

    def __init__(self) -> None:
        self._least: dict[str, tuple[float, float]] = {}

    def held_up_s(self, session: str, sent_ms: int, now_s: float) -> float:
        """Take in a message that came now; seconds, from 0."""
        difference_s = now_s - sent_ms / 1e3
        least_s, at_s = self._least.pop(session, (difference_s, now_s))
        least_s = min(difference_s, least_s + DRIFT * (now_s - at_s))
        self._least[session] = least_s, now_s
        while len(self._least) > MOST_SESSIONS:
            del self._least[next(iter(self._least))]
        return difference_s - least_s
