"""What a fault is, and what it may take hold of."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from chaos.brokers import Mosquitto
from chaos.checker import Checker
from chaos.line import SUPERVISOR, RunningLine
from chaos.network import Namespace
from chaos.spans import Spans
from chaos.view import PlcView
from pipeline.config import LineConfig
from plc.access import Access

SIGN_S = 2.0
"""Within this time the PLC must see a fault; what is over sooner need not show."""
NOTICED_S = 20.0
"""Between the last blow and the FAULT at the PLC, at the most: a process that hangs is killed after
4 s, and decision has to come back before it can say so.
"""
SPENT = "failed more than"
"""What the supervisor says when a budget of restarts is used up."""
DISK_SIZE = "size=2g"
"""Of the file system that the reject log has to itself, so that it can be full."""


@dataclass
class Hall:
    """Everything around one line: `broker` None is the embedded one, `network` None the machine's
    own; `data_disk` the small file system of the reject log, None where it could not be mounted.
    """

    config: LineConfig
    folder: Path
    rate_hz: float
    line: RunningLine
    view: PlcView
    checker: Checker
    access: Access
    broker: Mosquitto | None
    network: Namespace | None
    data_disk: Path | None
    measured: bool = False
    """Whether `rate_hz` is a share of what the line was measured to carry."""
    shared_before: set[str] = field(default_factory=set)
    """Shared memory of this user before the campaign."""
    unusual: Spans = field(default_factory=Spans)
    """Times in which the camera showed other parts than their numbers say."""
    struck: list[tuple[float, str]] = field(default_factory=list)
    """When a process of the line was hurt, and which."""

    def strike(self, stage: str) -> int:
        """The process of a stage that is to be hurt now. Raises LineError where there is none."""
        pid = self.line.pid(stage)
        self.note_blow(stage)
        return pid

    def note_blow(self, stage: str) -> None:
        """A process of this stage is hurt now."""
        self.struck.append((time.monotonic(), stage))

    def budget_spent(self, cause: str) -> bool:
        """Whether a FAULT with this cause gives up a process that was hurt often enough for that. A
        supervisor that was frozen may have ended every process.
        """
        limits = self.config.supervision
        since_s = time.monotonic() - limits.window_s - NOTICED_S
        hurt = [stage for at_s, stage in self.struck if at_s > since_s]
        return any(
            cause.startswith(f"{stage} {SPENT}")
            and hurt.count(stage) + hurt.count(SUPERVISOR) > limits.restarts
            for stage in set(hurt)
        )


@dataclass
class Fault(ABC):
    """One fault. `hold_s`: how long it lasts; 0 for one that strikes and is over. `shows`: the PLC
    must see by the line's state that something is wrong. `hinders`: verdicts may fail to get to the
    broker meanwhile. `back_s`: longest time from its end to RUNNING. `detail` says what was drawn.
    """

    hold_s: float = 0.0
    shows: bool = False
    hinders: bool = False
    back_s: float = 10.0
    detail: str = ""

    @abstractmethod
    def inflict(self, hall: Hall) -> None:
        """Begin it. Raises LineError where the line cannot even be hurt."""

    def end(self, hall: Hall) -> None:  # noqa: B027 - many are over by themselves
        """End it; one that is over by itself needs nothing."""


def _always(_hall: Hall) -> str:
    return ""


@dataclass(frozen=True)
class Kind:
    """A row of the campaign's table: how its faults are drawn, and why there can be none here."""

    name: str
    draw: Callable[[Random], Fault]
    missing: Callable[[Hall], str] = _always


def needs_mosquitto(hall: Hall) -> str:
    """For kinds that hurt a broker which the line does not start by itself."""
    return "" if hall.broker is not None else "the embedded broker has none; --broker mosquitto"
