"""The cables between line, broker and PLC: cut, slow, and losing packets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from random import Random

from chaos.cable import CALM, Disturbance
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

    how: Disturbance = CALM

    def inflict(self, hall: Hall) -> None:
        network_of(hall).disturb(self.how)

    def end(self, hall: Hall) -> None:
        network_of(hall).calm()


def kinds() -> Iterator[Kind]:
    """The kinds of this module."""
    yield Kind("network cut to line", partial(_cut, cable=LINE), _no_network)
    yield Kind("network cut to PLC", partial(_cut, cable=PLC), _no_network)
    yield Kind("network delay", _delay, _no_disturbance)
    yield Kind("network loss", _loss, _no_disturbance)


def _no_network(hall: Hall) -> str:
    missing = needs_mosquitto(hall)
    if missing or hall.network is not None:
        return missing
    return "network namespaces need root and iproute2"


def _no_disturbance(hall: Hall) -> str:
    return _no_network(hall) or network_of(hall).no_disturbance


def _cut(drawn: Random, cable: int) -> Fault:
    hold_s = drawn.uniform(0.5, 6.0)
    shows, detail = hold_s > SIGN_S, f"{hold_s:.1f} s"
    return Cut(hold_s, shows=shows, hinders=cable == LINE, cable=cable, detail=detail)


def _delay(drawn: Random) -> Fault:
    delay_s, spread_s = drawn.uniform(0.05, 0.8), drawn.uniform(0.01, 0.05)
    how, detail = Disturbance(delay_s, spread_s), f"{1e3 * delay_s:.0f} ms"
    return Disturbed(drawn.uniform(2, 5), hinders=True, detail=detail, how=how)


def _loss(drawn: Random) -> Fault:
    loss = drawn.uniform(0.05, 0.3)
    return Disturbed(
        drawn.uniform(2, 5), hinders=True, detail=f"{loss:.0%}", how=Disturbance(loss=loss)
    )
