"""Where the line's own thread meets the network's: the status, the present link, the events."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from plc.connection import Link
from plc.delivery import Acknowledged, Sent
from plc.dialect import Incoming, Outgoing
from plc.payloads import StatusPayload


@dataclass(frozen=True)
class Connected:
    """The broker has accepted the line."""

    link: int


@dataclass(frozen=True)
class Away:
    """An attempt has failed, or the connection `link` has ended."""

    reason: str
    link: int | None = None


@dataclass(frozen=True)
class Unheard:
    """The broker does not let the line listen, or, with an empty `problem`, does."""

    problem: str


Event = Connected | Away | Sent | Acknowledged | Unheard
MOST_MESSAGES = 500
"""Commands and acknowledgements that may wait for the line's own thread."""


class Outlet:
    """A connection's listener. `wake` is called when the line's own thread has something to do at
    once, which an acknowledgement is not, unless something waits for its room.

    The lock is held while a status is published: the retained one is the latest, and nothing
    overtakes the status of a new connection. paho holds a lock of its own while it reports an
    acknowledgement, so that report takes none.
    """

    def __init__(
        self, status_topic: str, listens_to: tuple[str, ...], wake: Callable[[], None]
    ) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.messages: queue.Queue[Incoming] = queue.Queue(MOST_MESSAGES)
        self.waiting = False
        """Whether the next acknowledgement is waited for."""
        self.overrun = 0
        """Messages that found no room; their senders get no answer and send them again."""
        self.listens_to = listens_to
        self._topic, self._wake = status_topic, wake
        self._link: Link | None = None
        self._lock = threading.RLock()
        self._status: StatusPayload | None = None
        self._sequence = 0

    @property
    def link(self) -> Link | None:
        """The present connection, once its status is on the way."""
        with self._lock:
            return self._link

    def count(self, sequence: int) -> None:
        """The sequence that the next status shall name."""
        self._sequence = sequence

    def show(self, status: StatusPayload) -> None:
        """Publish a status that differs from the present one, now and at every connection."""
        with self._lock:
            if status != self._status:
                self._status = status
                self._publish_status(self._link)

    def repeat(self) -> None:
        """Publish the present status once more."""
        with self._lock:
            self._publish_status(self._link)

    def on_connected(self, link: Link) -> None:
        """The line listens, and the status goes out before anything else."""
        with self._lock:
            link.subscribe(self.listens_to)
            self._publish_status(link)
            self.events.put(Connected(link.number))
            self._link = link
        self._wake()

    def on_lost(self, link: Link, reason: str) -> None:
        """Nothing is handed over any more."""
        with self._lock:
            self._link = None
            self.events.put(Away(reason, link.number))
        self._wake()

    def on_refused(self, reason: str) -> None:
        """Only noted; the next attempt follows."""
        self.events.put(Away(reason))

    def on_acknowledged(self, link: Link, mid: int, problem: str) -> None:
        """Only noted: takes no lock, see above."""
        self.events.put(Acknowledged(link.number, mid, problem))
        if self.waiting:
            self._wake()

    def on_message(self, message: Incoming) -> None:
        """Only noted, while there is room."""
        try:
            self.messages.put_nowait(message)
        except queue.Full:
            self.overrun += 1
        self._wake()

    def on_unheard(self, problem: str) -> None:
        """Only noted."""
        self.events.put(Unheard(problem))

    def _publish_status(self, link: Link | None) -> None:
        if link is None or self._status is None:
            return
        payload = msgspec.structs.replace(self._status, sequence=self._sequence)
        for sent in link.publish(Outgoing(self._topic, payload, retain=True)):
            self.events.put(sent)
