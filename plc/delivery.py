"""What became of each publish: in flight, acknowledged, denied, or never sent. No sockets here."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.messages import Part, PublishedNote
from pipeline.sequences import Sequences


@dataclass(frozen=True)
class Sent:
    """A message handed to a connection: `part` for a verdict, `gap` for a summary of what is
    undelivered, neither for anything else.
    """

    link: int
    mid: int
    topic: str
    part: Part | None
    at_s: float
    gap: Gap | None = None


@dataclass(frozen=True)
class Acknowledged:
    """The broker's answer to one publish; `problem` is empty where it took the message."""

    link: int
    mid: int
    problem: str


@dataclass
class Gap:
    """Verdicts that never got to the broker, or perhaps did, since the last summary."""

    undelivered: Sequences = field(default_factory=Sequences)
    unconfirmed: Sequences = field(default_factory=Sequences)

    def __bool__(self) -> bool:
        return bool(self.undelivered) or bool(self.unconfirmed)

    def merge(self, other: Gap) -> None:
        """Take over what another one holds."""
        for mine, its in (
            (self.undelivered, other.undelivered),
            (self.unconfirmed, other.unconfirmed),
        ):
            for first, last in its.ranges:
                mine.add(first, last)

    def __str__(self) -> str:
        ranges = (*self.undelivered.ranges, *self.unconfirmed.ranges)
        first, last = min(pair[0] for pair in ranges), max(pair[1] for pair in ranges)
        return (
            f"{len(self.undelivered)} verdicts undelivered, {len(self.unconfirmed)} sent without "
            f"acknowledgement (between sequences {first} and {last})"
        )


class Delivery:
    """Follows every publish of one client to its end. For one thread.

    A link's number distinguishes the message numbers of different connections. An acknowledgement
    may be noted before the publish that it belongs to.
    """

    def __init__(self) -> None:
        self.undelivered = 0
        """Verdicts of this session that were not sent, or that the broker denied."""
        self.unacknowledged = 0
        """Verdicts of this session whose connection broke before the broker's answer."""
        self.denied: dict[str, str] = {}
        """Topics that the broker's access list denies, with its answer."""
        self.gap = Gap()
        """What the PLC has not been told yet."""
        self._denied_s: dict[str, float] = {}
        self._in_flight: dict[tuple[int, int], Sent] = {}
        self._early: dict[tuple[int, int], Acknowledged] = {}
        self._delivered, self._summarised = Sequences(), Sequences()

    @property
    def in_flight(self) -> int:
        """Messages that the broker has not answered yet."""
        return len(self._in_flight)

    def oldest_s(self) -> float | None:
        """When the oldest message in flight was sent, or None."""
        return next((sent.at_s for sent in self._in_flight.values()), None)

    def absent(self, part: Part) -> None:
        """A verdict could not be sent, or has expired."""
        self.undelivered += 1
        self.gap.undelivered.add(part.sequence)

    def sent(self, sent: Sent) -> None:
        """A message is on its way."""
        key = sent.link, sent.mid
        self._in_flight[key] = sent
        early = self._early.pop(key, None)
        if early is not None:
            self.acknowledged(early)

    def acknowledged(self, answer: Acknowledged) -> None:
        """The broker has answered."""
        sent = self._in_flight.pop((answer.link, answer.mid), None)
        if sent is None:
            self._early[answer.link, answer.mid] = answer
        elif answer.problem:
            self.denied[sent.topic] = answer.problem
            self._denied_s[sent.topic] = sent.at_s
            if sent.part is not None:
                self.absent(sent.part)
            self.gap.merge(sent.gap or Gap())
        else:
            self.denied.pop(sent.topic, None)
            self._confirm(sent)

    def forget_denial(self, topic: str, until_s: float) -> None:
        """Drop what was denied on a topic until then, by the time of sending."""
        if topic in self.denied and self._denied_s[topic] <= until_s:
            del self.denied[topic]

    def _confirm(self, sent: Sent) -> None:
        if sent.part is not None:
            self._delivered.add(sent.part.sequence)
        if sent.gap is not None:
            for first, last in (*sent.gap.undelivered.ranges, *sent.gap.unconfirmed.ranges):
                self._summarised.add(first, last)

    def lost(self, link: int) -> None:
        """A connection has ended: what was in flight on it will not be sent again."""
        for key, sent in list(self._in_flight.items()):
            if sent.link == link:
                del self._in_flight[key]
                if sent.part is not None:
                    self.unacknowledged += 1
                    self.gap.unconfirmed.add(sent.part.sequence)
                self.gap.merge(sent.gap or Gap())
        self._early.clear()
        self.denied.clear()

    def take_gap(self) -> Gap | None:
        """What is to be summarised now, or None; told once the summary is acknowledged."""
        gap, self.gap = self.gap, Gap()
        return gap or None

    def take_published(self) -> PublishedNote | None:
        """What the broker has confirmed since the last call, or None."""
        if not self._delivered and not self._summarised:
            return None
        note = PublishedNote(self._delivered.ranges, self._summarised.ranges)
        self._delivered, self._summarised = Sequences(), Sequences()
        return note
