"""The broker: killed, frozen, restarted with an empty memory, refusing, denying."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from chaos.brokers import Mosquitto
from chaos.fault import SIGN_S, Fault, Hall, Kind, needs_mosquitto
from pipeline.control import Command

DENIED = ("verdict", "reject", "heartbeat", "status", "response")
"""Topics whose denial shows at once: the line uses them all the time, or a command makes it."""
ASKED = ("status", "response")
"""What only a command makes the line say."""
ASKS, ASK_S = 3, 0.3
"""Commands in a row, since the broker may still be reading its new list, and time for each."""


def broker_of(hall: Hall) -> Mosquitto:
    """The real broker, which these kinds need."""
    assert hall.broker is not None, "the campaign asks for it before"
    return hall.broker


@dataclass
class BrokerKilled(Fault):
    """Ended by a signal, and started again after a while; it has kept nothing."""

    number: signal.Signals = signal.SIGKILL

    def inflict(self, hall: Hall) -> None:
        broker_of(hall).end(self.number)

    def end(self, hall: Hall) -> None:
        broker_of(hall).start()


@dataclass
class BrokerFrozen(Fault):
    """Takes connections and says nothing."""

    def inflict(self, hall: Hall) -> None:
        broker_of(hall).send(signal.SIGSTOP)

    def end(self, hall: Hall) -> None:
        broker_of(hall).send(signal.SIGCONT)


@dataclass
class LineRefused(Fault):
    """The broker comes back with another password for the line, until somebody mends that."""

    def inflict(self, hall: Hall) -> None:
        broker = broker_of(hall)
        broker.write_passwords(refuse_line=True)
        broker.end(signal.SIGTERM)
        broker.start()

    def end(self, hall: Hall) -> None:
        broker_of(hall).write_passwords(refuse_line=False)
        broker_of(hall).send(signal.SIGHUP)


@dataclass
class TopicDenied(Fault):
    """The access list takes one topic away from the line, until somebody mends that."""

    topic: str = ""

    def inflict(self, hall: Hall) -> None:
        broker_of(hall).write_rights(denied=self.topic)
        broker_of(hall).send(signal.SIGHUP)
        if self.topic in ASKED:
            for number in range(ASKS):
                batch = f"denied-{time.monotonic_ns()}-{number}"
                hall.view.command(Command.NEXT_BATCH, ASK_S, batch=batch)

    def end(self, hall: Hall) -> None:
        broker_of(hall).write_rights(denied=None)
        broker_of(hall).send(signal.SIGHUP)


def kinds() -> Iterator[Kind]:
    """The kinds of this module."""
    yield Kind("broker killed", _killed, needs_mosquitto)
    yield Kind("broker restarted", _restarted, needs_mosquitto)
    yield Kind("broker frozen", _frozen, needs_mosquitto)
    yield Kind("broker refuses line", _refusing, needs_mosquitto)
    yield Kind("broker denies topic", _denying, needs_mosquitto)


def _killed(drawn: Random) -> Fault:
    hold_s = drawn.uniform(0.5, 5.0)
    return BrokerKilled(hold_s, shows=True, hinders=True, detail=f"{hold_s:.1f} s")


def _restarted(_drawn: Random) -> Fault:
    return BrokerKilled(shows=True, hinders=True, number=signal.SIGTERM)


def _frozen(drawn: Random) -> Fault:
    hold_s = drawn.uniform(0.5, 8.0)
    shows = hold_s > SIGN_S
    return BrokerFrozen(hold_s, shows=shows, hinders=True, detail=f"{hold_s:.1f} s")


def _refusing(drawn: Random) -> Fault:
    return LineRefused(drawn.uniform(2.0, 5.0), shows=True, hinders=True)


def _denying(drawn: Random) -> Fault:
    topic = drawn.choice(DENIED)
    hold_s = drawn.uniform(3.0, 5.0)
    return TopicDenied(hold_s, shows=True, hinders=True, topic=topic, detail=topic)
