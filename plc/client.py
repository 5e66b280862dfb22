"""The line's side of the PLC contract: verdicts and status towards the broker."""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import dataclass

from pipeline.config import Mqtt
from pipeline.control import LineOrder
from pipeline.messages import VerdictRecord
from plc.access import access_of, read_password
from plc.check import check_broker
from plc.connection import Connection, Link, Outgoing
from plc.delivery import Acknowledged, Delivery, Sent
from plc.payloads import status_payload, verdict_payload, will_payload
from plc.topics import Topics

__all__ = ["PlcClient", "check_broker", "read_password"]

CLOSE_S = 2.0
"""Longest time that `close` waits for acknowledgements, and then for the broker's goodbye."""
PATIENCE_S = 2.0
"""A publish unanswered for this long: nothing more is handed over until the broker answers."""


@dataclass(frozen=True)
class Connected:
    """The broker has accepted the line."""

    link: int


@dataclass(frozen=True)
class Away:
    """An attempt has failed, or the connection `link` has ended."""

    reason: str
    link: int | None = None


Event = Connected | Away | Sent | Acknowledged


class PlcClient:
    """Publishes verdicts and status of one line; no call waits for the broker but `close`.

    For the thread that made it. Constructing raises ConfigError where password or certificates are
    missing; from then on a broker that is away is only a `warning`.
    """

    def __init__(self, mqtt: Mqtt, line: int, session: str, log: logging.Logger) -> None:
        access = access_of(mqtt)
        self._line = line
        self._log = log
        self._topics = Topics(mqtt.topic_root)
        self._address = access.address
        self._client_id = f"inspection-line-{line}"
        self._delivery = Delivery()
        self._away: str | None = None
        self._away_since_s = time.time()
        self._closed = False
        self._outlet = _Outlet()
        will = Outgoing(self._topics.status, will_payload(line, session), retain=True)
        self._connection = Connection(access, self._client_id, will, self._outlet)

    def start(self) -> None:
        """Begin to connect; a broker that is away is tried again every 0.2 to 2 s."""
        self._connection.start()

    @property
    def undelivered(self) -> int:
        """Verdicts of this session that were not sent, or that the broker denied."""
        return self._delivery.undelivered

    @property
    def unacknowledged(self) -> int:
        """Verdicts of this session that were sent on a connection that broke before the answer."""
        return self._delivery.unacknowledged

    @property
    def warning(self) -> str:
        """One sentence for the operator while verdicts do not reach the broker, else empty."""
        self._settle()
        if self._closed:
            return ""
        if self._away is not None:
            since = time.strftime("%H:%M:%S", time.localtime(self._away_since_s))
            missing = f"; {self.undelivered} verdicts undelivered" if self.undelivered else ""
            return f"MQTT broker {self._address} away since {since}: {self._away}{missing}"
        if self._stalled():
            return f"MQTT broker {self._address} has stopped answering"
        for topic, problem in self._delivery.denied.items():
            who = self._client_id
            return f"MQTT broker denies {who} to publish to {topic} ({problem}); allow it there"
        return ""

    def publish_verdict(self, record: VerdictRecord) -> bool:
        """Send a verdict now or never: False where the broker is away or does not answer."""
        self._settle()
        link = self._outlet.link
        message = Outgoing(self._topics.verdict, verdict_payload(record))
        mid = None if link is None or self._stalled() else link.publish(message)
        if link is None or mid is None:
            self._delivery.absent(record.part)
            return False
        now_s = time.monotonic()
        self._delivery.sent(Sent(link.number, mid, message.topic, record.part, now_s))
        return True

    def set_status(self, order: LineOrder) -> None:
        """Publish the line's state if it has changed; it is repeated at every reconnection."""
        self._settle()
        payload = status_payload(self._line, order)
        self._outlet.show(Outgoing(self._topics.status, payload, retain=True))

    def close(self, order: LineOrder) -> None:
        """Publish the final state, wait a bounded time for acknowledgements, and disconnect."""
        self.set_status(order)
        deadline_s = time.monotonic() + CLOSE_S
        while self._outlet.link is not None and self._wait_for_answer(deadline_s):
            self._settle()
        if self._outlet.link is not None:
            self._delivery.lost(self._outlet.link.number)
        self._connection.close(CLOSE_S)
        self._log_gap("the line closes its connection")
        self._closed = True

    def _wait_for_answer(self, deadline_s: float) -> bool:
        """Take in the next event; False when nothing is in flight or time is up."""
        self._settle()
        left_s = deadline_s - time.monotonic()
        if not self._delivery.in_flight or left_s <= 0:
            return False
        try:
            self._take(self._outlet.events.get(timeout=left_s))
        except queue.Empty:
            return False
        return True

    def _stalled(self) -> bool:
        oldest_s = self._delivery.oldest_s()
        return oldest_s is not None and time.monotonic() - oldest_s > PATIENCE_S

    def _settle(self) -> None:
        """Take in what the network threads have reported."""
        while True:
            try:
                event = self._outlet.events.get_nowait()
            except queue.Empty:
                return
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case Connected():
                self._away = None
                self._log_gap(f"MQTT broker {self._address} connected")
            case Away():
                self._note_away(event)
            case Sent():
                self._delivery.sent(event)
            case Acknowledged():
                self._note_answer(event)

    def _note_away(self, event: Away) -> None:
        if event.link is not None:
            self._delivery.lost(event.link)
            self._away_since_s = time.time()
        if event.reason != self._away:
            self._log.warning("MQTT broker %s is away: %s", self._address, event.reason)
        self._away = event.reason

    def _note_answer(self, answer: Acknowledged) -> None:
        known = set(self._delivery.denied)
        self._delivery.acknowledged(answer)
        for topic in set(self._delivery.denied) - known:
            self._log.error("MQTT broker denies publishing to %s: %s", topic, answer.problem)

    def _log_gap(self, occasion: str) -> None:
        gap = self._delivery.take_gap()
        if gap is None:
            self._log.info("%s", occasion)
        else:
            self._log.warning("%s: %s", occasion, gap)


class _Outlet:
    """Where the owner's thread meets the network's: the status, the present link, and the events.

    The lock is held while a status is published: the retained one is the latest, and no verdict
    overtakes the status of a new connection. paho holds a lock of its own while it reports an
    acknowledgement, so that report takes none.
    """

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._link: Link | None = None
        self._lock = threading.RLock()
        self._status: Outgoing | None = None

    @property
    def link(self) -> Link | None:
        """The present connection, once its status is on the way."""
        with self._lock:
            return self._link

    def show(self, status: Outgoing) -> None:
        """Publish a status that differs from the present one, now and at every connection."""
        with self._lock:
            if status != self._status:
                self._status = status
                self._publish_status(self._link)

    def on_connected(self, link: Link) -> None:
        """The status goes out before any verdict."""
        with self._lock:
            self.events.put(Connected(link.number))
            self._publish_status(link)
            self._link = link

    def on_lost(self, link: Link, reason: str) -> None:
        """No verdict is handed over any more."""
        with self._lock:
            self._link = None
            self.events.put(Away(reason, link.number))

    def on_refused(self, reason: str) -> None:
        """Only noted; the next attempt follows."""
        self.events.put(Away(reason))

    def on_acknowledged(self, link: Link, mid: int, problem: str) -> None:
        """Only noted: takes no lock, see above."""
        self.events.put(Acknowledged(link.number, mid, problem))

    def _publish_status(self, link: Link | None) -> None:
        if link is None or self._status is None:
            return
        mid = link.publish(self._status)
        if mid is not None:
            self.events.put(Sent(link.number, mid, self._status.topic, None, at_s=time.monotonic()))
