"""Verdicts on their way out: each goes when the broker has room for it, or not at all."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from pipeline.messages import Part, VerdictRecord
from plc.ack_watch import AckWatch
from plc.connection import Link
from plc.delivery import Delivery
from plc.dialect import Outgoing
from plc.payloads import reject_payload, verdict_payload
from plc.topics import Topics

MESSAGES = 2
"""At most so many for one verdict: what the gate must act on, and the verdict itself."""
Send = Callable[[Link, Outgoing, Part | None], bool]


class VerdictQueue:
    """Verdicts in the order in which they were given. For one thread.

    Their messages are made when they leave, since each says how long its part still has.
    """

    def __init__(self, topics: Topics, delivery: Delivery, acks: AckWatch, send: Send) -> None:
        self._topics, self._delivery, self._acks, self._send = topics, delivery, acks, send
        self._waiting: deque[VerdictRecord] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, record: VerdictRecord) -> None:
        """One more, behind those that wait."""
        self._waiting.append(record)

    def send(self, link: Link) -> None:
        """Hand over those that the broker has room for."""
        while self._waiting and link.room(self._delivery.in_flight) >= MESSAGES:
            record = self._waiting.popleft()
            if not self._sent(link, record):
                self._delivery.absent(record.part)

    def abandon(self) -> None:
        """Those that wait will not be sent."""
        while self._waiting:
            self._delivery.absent(self._waiting.popleft().part)

    def sent_until(self, settled: int) -> int:
        """The highest sequence up to which every verdict has gone, of those up to `settled`."""
        return min((settled, *(record.part.sequence - 1 for record in self._waiting)))

    def _sent(self, link: Link, record: VerdictRecord) -> bool:
        now_ns = time.monotonic_ns()
        left_ms, sent_ms = remaining_ms(record, now_ns), now_ns // 1_000_000
        if left_ms == 0:
            return False
        expiry_s = None if left_ms is None else math.ceil(left_ms / 1000)
        reject = reject_payload(record, left_ms or 0, sent_ms)
        if reject is not None:
            self._send(link, Outgoing(self._topics.reject, reject, expiry_s=expiry_s), None)
            self._acks.expect(record.part.sequence, time.monotonic() + (left_ms or 0) / 1000)
        verdict = verdict_payload(record, left_ms, sent_ms)
        return self._send(
            link, Outgoing(self._topics.verdict, verdict, expiry_s=expiry_s), record.part
        )


def remaining_ms(record: VerdictRecord, now_ns: int) -> int | None:
    """Milliseconds until a part is at the gate, cut; 0 if it has passed, None if nobody knows."""
    if record.late:
        return 0
    if record.deadline_monotonic_ns is not None:
        return max(0, record.deadline_monotonic_ns - now_ns) // 1_000_000
    if record.deadline_wall_ns is None:
        return None
    return max(0, record.deadline_wall_ns - record.decided_wall_ns) // 1_000_000
