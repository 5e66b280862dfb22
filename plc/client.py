"""The line's side of the PLC contract: verdicts, rejects, status and heartbeat towards the broker,
commands and acknowledgements from it.
"""

from __future__ import annotations

import logging
import math
import queue
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.config import Mqtt
from pipeline.control import Answer, LineOrder, LineState, Request
from pipeline.messages import Part, PublishedNote, VerdictRecord
from plc.access import access_of, read_password
from plc.ack_watch import AckWatch
from plc.check import cautions, check_broker
from plc.command_inbox import CommandInbox
from plc.connection import Connection, Link
from plc.delivery import Acknowledged, Delivery, Gap, Sent
from plc.denials import Denials
from plc.dialect import Dialect, Incoming, JsonDialect, Kind, Outgoing
from plc.outlet import Away, Connected, Event, Outlet, Unheard
from plc.payloads import (
    HeartbeatPayload,
    Identity,
    ResponsePayload,
    status_payload,
    undelivered_payload,
)
from plc.sparkplug.birth_sequence import BirthSequence
from plc.sparkplug.edge_node import EdgeNode
from plc.topics import Topics
from plc.verdict_queue import VerdictQueue, remaining_ms

__all__ = ["PlcClient", "check_broker", "read_password"]

CLOSE_S = 2.0
"""Longest time that `close` waits for broker and acknowledgements, and then for the goodbye."""
PATIENCE_S = 2.0
"""A publish unanswered for this long ends the connection: what it holds would come too late."""
STALLED = "it has stopped answering"
MOST_AT_ONCE = 20
"""Messages to the line that are read before verdicts get their turn again."""
SUMMARY_S = 1.0
"""Pause between two summaries of what is undelivered while the broker is there."""


class PlcClient:
    """Speaks for one line; no call waits for the broker but `close`.

    For the thread that made it. Constructing raises ConfigError where password or certificates are
    missing; from then on a broker that is away is only a `warning`. `folder` is where Sparkplug's
    number of connections is kept from one process to the next; None forgets it. `wake` is called by
    other threads when `tick` has something to do before `due_s`.
    """

    def __init__(
        self,
        mqtt: Mqtt,
        line: int,
        session: str,
        log: logging.Logger,
        folder: Path | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        access = access_of(mqtt)
        self._line, self._session, self._log = line, session, log
        self._topics = Topics(mqtt.topic_root)
        self._heartbeat_s = mqtt.heartbeat_s
        self._address, self._cautions = access.address, cautions(access)
        self._delivery, self._acks = Delivery(), AckWatch(mqtt.ack_window_s)
        self._verdicts = VerdictQueue(self._topics, self._delivery, self._acks, self._send)
        self._dialect = self._chosen_dialect(mqtt, folder)
        self._inbox = CommandInbox(line, session, self._dialect.read_command)
        self._order: LineOrder | None = None
        self._identity: Identity | None = None
        self._away: str | None = None
        self._away_since_s = time.time()
        self._dropped: int | None = None
        self._closed = False
        self._greeted = self._beats = self._refused = 0
        self._beat_due_s = self._summary_due_s = 0.0
        self._outlet = Outlet(self._topics.status, self._dialect.reads, wake)
        client_id = f"inspection-line-{line}"
        self._connection = Connection(access, client_id, self._dialect, self._outlet)
        self._denials = Denials(client_id, self._topics, self._delivery, self._outlet)

    def start(self) -> None:
        """Begin to connect; a broker that is away is tried again every 0.2 to 2 s."""
        for caution in self._cautions:
            self._log.warning("%s", caution)
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
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._outlet.link is not None

    @property
    def refused(self) -> int:
        """Messages to the line that it could not use, or had no room for."""
        return self._refused + self._inbox.refused + self._outlet.overrun

    @property
    def requests(self) -> tuple[Request, ...]:
        """Commands that wait for an answer."""
        self._settle()
        return self._inbox.requests

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
            return f"MQTT broker {self._address}: {STALLED}"
        return self._denials.text

    @property
    def alarm(self) -> str:
        """One sentence while the PLC does not get what it needs, or does not act; else empty."""
        self._settle()
        if self._closed or self._away is not None:
            return ""
        return self._denials.text or self._acks.alarm(time.monotonic())

    def publish_verdict(self, record: VerdictRecord) -> bool:
        """Send a verdict now, or as soon as the broker has confirmed enough of those before it:
        False where it has expired, or where the broker is away or does not answer. What the gate
        must act on goes before it.
        """
        expired = remaining_ms(record, time.monotonic_ns()) == 0
        link = None if expired or self._stalled() else self._greeted_link()
        if link is None:
            self._delivery.absent(record.part)
            return False
        self._verdicts.add(record)
        self._send_verdicts(link)
        return True

    def note_unpublished(self, sequence: int) -> None:
        """A verdict of an earlier process of this session that nobody knows to have arrived."""
        self._delivery.gap.unconfirmed.add(sequence)

    def take_published(self) -> PublishedNote | None:
        """What the broker has confirmed since the last call, or None."""
        self._settle()
        return self._delivery.take_published()

    def set_status(self, order: LineOrder, identity: Identity | None = None) -> None:
        """Publish the line's state if it has changed; it is repeated at every reconnection."""
        self._settle()
        self._order, self._identity = order, identity or self._identity
        self._outlet.show(status_payload(self._line, order, self._identity))

    def answer(self, answers: Iterable[Answer]) -> None:
        """Tell the senders of commands what has become of them."""
        for response in self._inbox.answered(answers):
            self._respond(response)

    def tick(self, sequence: int, settled: int) -> None:
        """Do what is due: heartbeat and summary. `sequence` is the highest that was given out, and
        every part up to `settled` has its verdict.
        """
        self._outlet.count(sequence)
        link, now_s = self._greeted_link(), time.monotonic()
        if link is not None and self._stalled():
            self._dropped = link.number
            link.drop()
        if link is None or self._order is None or self._stalled():
            return
        self._send_verdicts(link)
        self._denials.ask_again(link, now_s)
        if link.speech.asked_again:
            self._outlet.repeat()
        if now_s >= self._summary_due_s:
            self._summarise(link)
        if now_s >= self._beat_due_s:
            self._beat_due_s = now_s + self._heartbeat_s
            self._beats += 1
            payload = HeartbeatPayload(
                line=self._line,
                session=self._session,
                counter=self._beats,
                state=self._order.state,
                sequence=sequence,
                settled=self._verdicts.sent_until(settled),
                sent_ms=time.monotonic_ns() // 1_000_000,
            )
            self._send(link, Outgoing(self._topics.heartbeat, payload, qos=0))

    @property
    def due_s(self) -> float:
        """When `tick` has something to say next, monotonic; infinite without a connection."""
        if self._outlet.link is None or self._order is None or self._stalled():
            return math.inf
        return min(self._beat_due_s, self._summary_due_s if self._delivery.gap else math.inf)

    def close(self, order: LineOrder) -> None:
        """Publish the final state, wait a bounded time for acknowledgements, and disconnect; where
        the first connection is still on its way, wait for that, too.
        """
        deadline_s = time.monotonic() + CLOSE_S
        self._await_first_answer(deadline_s)
        link = self._greeted_link()
        if link is not None:
            self._send_verdicts(link)
            while self._verdicts and self._wait_for_answer(deadline_s):
                self._send_verdicts(link)
            self._verdicts.abandon()
            self._summarise(link)
        self.set_status(order)
        while self._outlet.link is not None and self._wait_for_answer(deadline_s):
            self._settle()
        if self._outlet.link is not None:
            self._delivery.lost(self._outlet.link.number)
        self._connection.close(CLOSE_S)
        if self._delivery.gap:
            self._log.warning("the line closes its connection: %s", self._delivery.gap)
        self._closed = True

    def _await_first_answer(self, deadline_s: float) -> None:
        """Wait until the broker is there or away: a process that was only started to say how the
        line ends is not to leave before it could.
        """
        self._settle()
        while self._away is None and not self.connected:
            try:
                self._take(self._outlet.events.get(timeout=max(0.0, deadline_s - time.monotonic())))
            except queue.Empty:
                return

    def _greeted_link(self) -> Link | None:
        """The present connection, where the PLC knows what it has missed before anything else."""
        link = self._outlet.link
        self._settle()  # after the look: whatever belongs to an earlier connection is known now
        if link is not None and link.number != self._greeted:
            self._greeted = link.number
            self._summarise(link)
        return link

    def _summarise(self, link: Link) -> None:
        """Tell the PLC of verdicts that it will never get."""
        self._summary_due_s = time.monotonic() + SUMMARY_S
        gap = self._delivery.take_gap()
        if gap is None:
            return
        self._log.warning("the PLC is told of %s", gap)
        payload = undelivered_payload(
            self._line, self._session, gap.undelivered, gap.unconfirmed, time.time_ns()
        )
        if not self._send(link, Outgoing(self._topics.undelivered, payload), gap=gap):
            self._delivery.gap.merge(gap)

    def _send(
        self, link: Link, message: Outgoing, part: Part | None = None, gap: Gap | None = None
    ) -> bool:
        sent = link.publish(message, part, gap)
        for packet in sent:
            self._delivery.sent(packet)
        return bool(sent)

    def _send_verdicts(self, link: Link) -> None:
        """Those that the broker has room for; the next acknowledgement wakes for the others."""
        self._verdicts.send(link)
        if self._verdicts and not self._outlet.waiting:
            self._outlet.waiting = True
            self._settle()  # an answer that came before that woke nobody
            self._verdicts.send(link)
        if not self._verdicts:
            self._outlet.waiting = False

    def _respond(self, response: ResponsePayload) -> None:
        link = self._outlet.link
        if link is not None:
            self._send(link, Outgoing(self._topics.response, response))

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
                break
            self._take(event)
        for _ in range(MOST_AT_ONCE):
            try:
                message = self._outlet.messages.get_nowait()
            except queue.Empty:
                return
            self._note_message(message)

    def _take(self, event: Event) -> None:
        match event:
            case Connected():
                self._away = None
                self._denials.note_heard("")
                self._log.info("MQTT broker %s connected", self._address)
            case Away():
                self._note_away(event)
            case Sent():
                self._delivery.sent(event)
            case Acknowledged():
                self._note_answer(event)
            case Unheard():
                self._denials.note_heard(event.problem)

    def _note_away(self, event: Away) -> None:
        reason = STALLED if event.link == self._dropped is not None else event.reason
        if event.link is not None:
            self._delivery.lost(event.link)
            self._verdicts.abandon()
            self._acks.forget()
            self._away_since_s = time.time()
        if reason != self._away:
            self._log.warning("MQTT broker %s is away: %s", self._address, reason)
        self._away = reason

    def _note_answer(self, answer: Acknowledged) -> None:
        known = set(self._delivery.denied)
        self._delivery.acknowledged(answer)
        for topic in set(self._delivery.denied) - known:
            self._log.error("MQTT broker denies publishing to %s: %s", topic, answer.problem)

    def _note_message(self, message: Incoming) -> None:
        """A retained one is left: it was meant for another time."""
        if message.retained:
            self._refused += 1
            self._log.warning("retained message on %s ignored; remove it there", message.topic)
            return
        match self._dialect.kind(message):
            case Kind.ACK:
                self._note_ack(message.payload)
            case Kind.COMMAND:
                self._note_command(message)
            case Kind.UNREADABLE:
                self._refused += 1
                self._log.warning("unreadable on %s: %.200r", message.topic, message.payload)

    def _note_ack(self, data: bytes) -> None:
        ack = self._dialect.read_ack(data)
        if ack is None:
            self._refused += 1
            self._log.warning("unreadable ack: %.200r", data)
        elif ack.session == self._session:
            self._acks.acknowledge(ack.sequence)

    def _note_command(self, message: Incoming) -> None:
        self._log.info("command: %.200r", message.payload)
        state = LineState.PREOPERATIONAL if self._order is None else self._order.state
        response = self._inbox.receive(message.payload, message.at_monotonic_ns, state)
        if response is not None:
            self._respond(response)

    def _chosen_dialect(self, mqtt: Mqtt, folder: Path | None) -> Dialect:
        if mqtt.sparkplug is None:
            return JsonDialect(self._topics, self._line, self._session)
        file = None if folder is None else folder / "sparkplug_bdseq.txt"
        return EdgeNode(mqtt.sparkplug, BirthSequence(file, self._log))
