"""What the broker denies the line, in words; and asking again where nothing else would."""

from __future__ import annotations

from plc.connection import Link
from plc.delivery import Delivery
from plc.outlet import Outlet
from plc.topics import Topics

RETRY_S = 1.0
"""Pause between two attempts to do what the broker has denied."""
RESPONSE_DENIED_S = 10.0
"""A denied response is no news after this time: the next one comes with the next command only."""


class Denials:
    """Watches one client's denials. For one thread.

    A denied verdict, reject or summary is followed by another one, and by its answer; a status is
    not, and neither is a subscription.
    """

    def __init__(self, client_id: str, topics: Topics, delivery: Delivery, outlet: Outlet) -> None:
        self._who, self._topics = client_id, topics
        self._delivery, self._outlet = delivery, outlet
        self._unheard = ""
        self._due_s = 0.0

    def note_heard(self, problem: str) -> None:
        """The broker lets the line listen, or does not: `problem`, empty where it does."""
        self._unheard = problem

    @property
    def text(self) -> str:
        """One sentence while something is denied, else empty."""
        for topic, problem in self._delivery.denied.items():
            return (
                f"MQTT broker denies {self._who} to publish to {topic} ({problem}); allow it there"
            )
        if self._unheard:
            topic = self._outlet.listens_to[0]
            return f"MQTT broker denies {self._who} to read {topic} ({self._unheard})"
        return ""

    def ask_again(self, link: Link, now_s: float) -> None:
        """Do anew what is denied, at its time."""
        if now_s < self._due_s:
            return
        self._due_s = now_s + RETRY_S
        if self._topics.status in self._delivery.denied:
            self._outlet.repeat()
        self._delivery.forget_denial(self._topics.response, now_s - RESPONSE_DENIED_S)
        if self._unheard:
            link.subscribe(self._outlet.listens_to)
