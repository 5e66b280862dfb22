"""Whether a running line still inspects its parts, judged by the verdicts of the last seconds."""

from __future__ import annotations

from collections import Counter, deque

from pipeline.config import Timing
from pipeline.control import LineOrder, LineState
from pipeline.messages import REASON_TEXT, Reason, Verdict, VerdictRecord

WINDOW_NS = 3_000_000_000
WINDOW_PARTS, LONGEST_WINDOW_NS = 8, 10_000_000_000
"""The verdicts of the last 3 s count, and always the last 8 unless they are older than 10 s."""
LEAST = 3
ALARM_SHARE, QUIET_SHARE = 0.1, 0.05
"""An alarm begins with this share of UNINSPECTED parts, at least 3, and ends below the other."""
LONGEST_SETTLING_NS = 3_000_000_000
OVERLOAD = "overload: parts become UNINSPECTED, since the line does not keep up with them"
_TOO_MANY = frozenset({Reason.OVERLOAD, Reason.DEADLINE})
_TOLD_ELSEWHERE = frozenset({Reason.NOT_RECORDED, Reason.LINE_STOPPED})
"""The ledger's journal sounds its own alarm, and a line that stops is not RUNNING."""


class InspectionWatch:
    """Parts that became UNINSPECTED without any other trouble that explains it.

    A part that was captured while the line had another trouble, or within `settling_ns` after it,
    is left out: that trouble was told. Times are monotonic nanoseconds.
    """

    def __init__(self, settling_ns: int) -> None:
        self._settling_ns = settling_ns
        self._recent: deque[tuple[int, Reason | None]] = deque()
        self._reasons: Counter[Reason] = Counter()
        self._settled_ns = 0
        self._alarm = ""
        self._told: deque[str] = deque(maxlen=2)

    @classmethod
    def of(cls, timing: Timing) -> InspectionWatch:
        """The watch of a line; after a trouble it settles for one deadline, 3 s at most."""
        return cls(min(timing.deadline_ms * 1_000_000, LONGEST_SETTLING_NS))

    @property
    def settling_s(self) -> float:
        """So long after another trouble parts are left out."""
        return self._settling_ns / 1e9

    def follow(self, order: LineOrder, now_ns: int) -> None:
        """Take note of how the line is; another trouble takes this one's place."""
        own = order.state is LineState.DEGRADED and order.cause in self._told
        if order.state is not LineState.RUNNING and not own:
            self._settled_ns = now_ns + self._settling_ns
            self._recent.clear()
            self._reasons.clear()
            self._alarm = ""

    def note(self, record: VerdictRecord, now_ns: int) -> None:
        """Take in a verdict that has just been given."""
        captured_ns = now_ns - int(1e6 * (record.latency_ms or 0))
        if captured_ns < self._settled_ns or record.reason in _TOLD_ELSEWHERE:
            return
        reason = record.reason if record.verdict is Verdict.UNINSPECTED else None
        self._recent.append((now_ns, reason))
        if reason is not None:
            self._reasons[reason] += 1

    def alarm(self, now_ns: int) -> str:
        """A sentence while parts become UNINSPECTED again and again, else empty: why most of them
        did at its begin, or do now, where none does for that reason any more.
        """
        self._forget(now_ns)
        count, parts = self._reasons.total(), len(self._recent)
        if self._alarm and count < QUIET_SHARE * max(parts, 1):
            self._alarm = ""
        elif self._alarm or count >= max(LEAST, ALARM_SHARE * parts):
            self._name_the_cause()
        return self._alarm

    def _name_the_cause(self) -> None:
        present = {_sentence(reason) for reason, count in self._reasons.items() if count}
        if self._alarm not in present:
            ((reason, _),) = self._reasons.most_common(1)
            self._alarm = _sentence(reason)
            self._told.append(self._alarm)

    def _forget(self, now_ns: int) -> None:
        while self._recent:
            age_ns = now_ns - self._recent[0][0]
            few = len(self._recent) <= WINDOW_PARTS
            if age_ns <= (LONGEST_WINDOW_NS if few else WINDOW_NS):
                return
            _, reason = self._recent.popleft()
            if reason is not None:
                self._reasons[reason] -= 1


def _sentence(reason: Reason) -> str:
    if reason in _TOO_MANY:
        return OVERLOAD
    return f"parts become UNINSPECTED: {REASON_TEXT[reason]}"
