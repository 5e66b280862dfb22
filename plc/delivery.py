"""What became of each publish: in flight, acknowledged, denied, or never sent. No sockets here."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.messages import Part


@dataclass(frozen=True)
class Sent:
    """A message handed to a connection: `part` for a verdict, None for the status."""

    link: int
    mid: int
    topic: str
    part: Part | None
    at_s: float


@dataclass(frozen=True)
class Acknowledged:
    """The broker's answer to one publish; `problem` is empty where it took the message."""

    link: int
    mid: int
    problem: str


@dataclass
class Gap:
    """Verdicts that never got to the broker, or perhaps did, since the last summary."""

    undelivered: int = 0
    unacknowledged: int = 0
    first: int = 0
    last: int = 0

    def add(self, part: Part, *, sent: bool) -> None:
        """Count a verdict: `sent` ones may have arrived, without an acknowledgement."""
        self.undelivered += not sent
        self.unacknowledged += sent
        self.first = min(self.first or part.sequence, part.sequence)
        self.last = max(self.last, part.sequence)

    def __str__(self) -> str:
        return (
            f"{self.undelivered} verdicts undelivered, {self.unacknowledged} sent without "
            f"acknowledgement (between sequences {self.first} and {self.last})"
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
        self._gap = Gap()
        self._in_flight: dict[tuple[int, int], Sent] = {}
        self._early: dict[tuple[int, int], Acknowledged] = {}

    @property
    def in_flight(self) -> int:
        """Messages that the broker has not answered yet."""
        return len(self._in_flight)

    def oldest_s(self) -> float | None:
        """When the oldest message in flight was sent, or None."""
        return next((sent.at_s for sent in self._in_flight.values()), None)

    def absent(self, part: Part) -> None:
        """A verdict could not be sent."""
        self.undelivered += 1
        self._gap.add(part, sent=False)

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
        elif not answer.problem:
            self.denied.pop(sent.topic, None)
        else:
            self.denied[sent.topic] = answer.problem
            if sent.part is not None:
                self.absent(sent.part)

    def lost(self, link: int) -> None:
        """A connection has ended: what was in flight on it will not be sent again."""
        for key, sent in list(self._in_flight.items()):
            if sent.link == link:
                del self._in_flight[key]
                if sent.part is not None:
                    self.unacknowledged += 1
                    self._gap.add(sent.part, sent=True)
        self._early.clear()
        self.denied.clear()

    def take_gap(self) -> Gap | None:
        """What went missing since the last call, or None."""
        gap, self._gap = self._gap, Gap()
        return gap if gap.last else None
