"""The cables between line, broker and PLC: cut, slow, and losing packets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from random import Random

from chaos.fault import SIGN_S, Fault, Hall, Kind, needs_mosquitto
from chaos.network import Namespace

LINE, PLC = 0, 1


def network_of(hall: Hall) -> Namespace:
    """The broker's own network, which these kinds need."""
    assert hall.network is not None, "the campaign asks for it before"
    return hall.network


@dataclass
class Cut(Fault):
    """No packet passes, and nobody is told."""

    cable: int = LINE

    def inflict(self, hall: Hall) -> None:
        network_of(hall).pull(network_of(hall).cables[self.cable])

    def end(self, hall: Hall) -> None:
        network_of(hall).plug(network_of(hall).cables[self.cable])


@dataclass
class Disturbed(Fault):
    """Packets of the line come late, or not all of them."""

    how: tuple[str, ...] = ()

    def inflict(self, hall: Hall) -> None:
        network_of(hall).disturb(network_of(hall).cables[LINE], *self.how)

    def end(self, hall: Hall) -> None:
        network_of(hall).calm(network_of(hall).cables[LINE])


def kinds() -> Iterator[Kind]:
    """The kinds of this module."""
    yield Kind("network cut to line", partial(_cut, cable=LINE), _no_network)
    yield Kind("network cut to PLC", partial(_cut, cable=PLC), _no_network)
    yield Kind("network delay", _delay, _no_netem)
    yield Kind("network loss", _loss, _no_netem)


def _no_network(hall: Hall) -> str:
    missing = needs_mosquitto(hall)
    if missing or hall.network is not None:
        return missing
    return "network namespaces need root and iproute2"


def _no_netem(hall: Hall) -> str:
    return _no_network(hall) or network_of(hall).netem_missing()


def _cut(drawn: Random, cable: int) -> Fault:
    hold_s = drawn.uniform(0.5, 6.0)
    shows, detail = hold_s > SIGN_S, f"{hold_s:.1f} s"
    return Cut(hold_s, shows=shows, hinders=cable == LINE, cable=cable, detail=detail)


def _delay(drawn: Random) -> Fault:
    delay, spread = f"{drawn.randrange(50, 800)}ms", f"{drawn.randrange(10, 50)}ms"
    how = ("delay", delay, spread)
    return Disturbed(drawn.uniform(2, 5), hinders=True, detail=delay, how=how)


def _loss(drawn: Random) -> Fault:
    loss = f"{drawn.randrange(5, 30)}%"
    return Disturbed(drawn.uniform(2, 5), hinders=True, detail=loss, how=("loss", loss))
