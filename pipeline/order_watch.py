"""The newest order as a stage has it, and what it means when the supervisor says nothing."""

from __future__ import annotations

import time

import msgspec

from pipeline.control import LineOrder, LineState

ORPHAN_AFTER_NS = 10_000_000_000
"""A stage that hears nothing for this long ends by itself."""
SILENT = "no sign of life from the supervisor"


class OrderWatch:
    """Keeps the newest order of one session. Times are monotonic nanoseconds."""

    def __init__(self, session: str, silence_alarm_s: float, now_ns: int) -> None:
        self._session, self._alarm_ns = session, int(silence_alarm_s * 1e9)
        self.newest = LineOrder(session, LineState.PREOPERATIONAL, "starting", 0)
        self._at_ns = now_ns
        self._alarm: LineOrder | None = None

    def note(self, order: LineOrder | None, now_ns: int) -> None:
        """Take in an order, or None; one of another session changes nothing."""
        if order is not None and order.session == self._session:
            self.newest, self._at_ns, self._alarm = order, now_ns, None

    def orphaned(self, now_ns: int) -> bool:
        """Whether the supervisor must be gone."""
        return now_ns - self._at_ns > ORPHAN_AFTER_NS

    def shown(self, now_ns: int) -> LineOrder:
        """The newest order; while a supervisor that should be watching a RUNNING line is silent,
        it says DEGRADED, since nobody else could tell the PLC.
        """
        if self.newest.state is not LineState.RUNNING or now_ns - self._at_ns <= self._alarm_ns:
            return self.newest
        if self._alarm is None:
            self._alarm = msgspec.structs.replace(
                self.newest,
                state=LineState.DEGRADED,
                cause=SILENT,
                since_wall_ns=time.time_ns(),
            )
        return self._alarm
