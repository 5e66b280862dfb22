"""Processes of the line that are killed, frozen, or compute without end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from chaos.fault import SIGN_S, Fault, Hall, Kind
from chaos.line import SUPERVISOR, stage_processes, wait_for_end
from pipeline.control import LineState
from pipeline.errors import LineError

STAGES = ("acquisition", "preprocessing", "reconstruction", "segmentation", "decision", "recorder")
BROKER = "broker"
SPEAKING = ("decision", BROKER)
"""Without these no verdict gets to the PLC."""
ORPHANS_S = 5.0
SPEND_S = 60.0
STAGE_BACK_S = 5.0


@dataclass
class Signalled(Fault):
    """SIGKILL, or SIGUSR1: the stage's thread computes for ever (`chaos.inside`), and only the
    supervisor's watch on its beats ends that. The supervisor starts it again.
    """

    stage: str = ""
    number: signal.Signals = signal.SIGKILL

    def inflict(self, hall: Hall) -> None:
        os.kill(hall.strike(self.stage), self.number)


@dataclass
class SupervisorKilled(Fault):
    """kill -9 of the supervisor: the kernel ends the stages, and whoever started the line starts
    it again.
    """

    def inflict(self, hall: Hall) -> None:
        supervisor = hall.line.supervisor
        stages = list(stage_processes(supervisor))
        hall.checker.killed_s[hall.view.session] = time.monotonic()
        hall.line.kill()
        left = wait_for_end(stages, ORPHANS_S)
        if left:
            raise LineError(f"{len(left)} stages outlived their supervisor for {ORPHANS_S:g} s")

    def end(self, hall: Hall) -> None:
        hall.line.start(hall.rate_hz)


@dataclass
class Frozen(Fault):
    """SIGSTOP, then SIGCONT unless the supervisor has ended it before."""

    stage: str = ""
    _pid: int = 0

    def inflict(self, hall: Hall) -> None:
        self._pid = hall.strike(self.stage)
        os.kill(self._pid, signal.SIGSTOP)

    def end(self, hall: Hall) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGCONT)


@dataclass
class Spent(Fault):
    """Killed again whenever it has come back, until its budget is spent; the PLC resets that. After
    this it is left alone, since it may be the one that has to say so.
    """

    stage: str = ""

    def inflict(self, hall: Hall) -> None:
        end_s = time.monotonic() + SPEND_S
        killed: set[int] = set()
        while hall.view.state != LineState.FAULT:
            if time.monotonic() > end_s:
                raise LineError(f"{self.stage} died {len(killed)} times, and there is no FAULT")
            pid = hall.line.stages().get(self.stage)
            left = len(killed) <= hall.config.supervision.restarts
            if left and pid is not None and pid not in killed:
                killed.add(pid)
                hall.note_blow(self.stage)
                os.kill(pid, signal.SIGKILL)
            hall.view.pass_time(0.1)


def kinds(embedded: bool) -> Iterator[Kind]:
    """The kinds of this module."""
    stages = (*STAGES, BROKER) if embedded else STAGES
    for stage in stages:
        yield Kind(f"kill {stage}", partial(_kill, stage=stage))
        yield Kind(f"freeze {stage}", partial(_freeze, stage=stage))
        yield Kind(f"hang {stage}", partial(_hang, stage=stage))
    yield Kind("kill supervisor", lambda _drawn: SupervisorKilled(shows=True, hinders=True))
    yield Kind("freeze supervisor", _freeze_supervisor)
    yield Kind("restart budget spent", partial(_spend, stages=stages))


def _kill(_drawn: Random, stage: str) -> Fault:
    return Signalled(shows=True, hinders=stage in SPEAKING, back_s=STAGE_BACK_S, stage=stage)


def _freeze(drawn: Random, stage: str) -> Fault:
    hold_s = drawn.uniform(0.3, 7.0)
    shows, detail = hold_s > SIGN_S, f"{hold_s:.1f} s"
    return Frozen(hold_s, shows=shows, hinders=stage in SPEAKING, stage=stage, detail=detail)


def _hang(_drawn: Random, stage: str) -> Fault:
    hinders, number = stage in SPEAKING, signal.SIGUSR1
    return Signalled(shows=True, hinders=hinders, stage=stage, number=number)


def _spend(drawn: Random, stages: Sequence[str]) -> Fault:
    stage = drawn.choice(stages)
    return Spent(shows=True, hinders=True, stage=stage, detail=stage)


def _freeze_supervisor(drawn: Random) -> Fault:
    """It neither moves parts nor gives verdicts, but nobody watches the line meanwhile. Back again,
    it may end the stages that it has not heard of.
    """
    hold_s = drawn.uniform(0.5, 8.0)
    shows, detail = hold_s > SIGN_S, f"{hold_s:.1f} s"
    return Frozen(hold_s, shows=shows, hinders=True, stage=SUPERVISOR, detail=detail)
