"""A FAULT is right for a process that was hurt more often than it may be started again."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from chaos.checker import Checker
from chaos.fault import Hall
from chaos.faults import processes
from chaos.line import RunningLine
from chaos.view import PlcView
from chaos_parts import BUNDLE
from pipeline.config import LineConfig
from pipeline.errors import LineError
from plc.access import access_of
from stages.decision.rule import DecisionRule

CAUSE = "segmentation failed more than 2 times within 60 s, last: was killed by signal 9; see log"


@pytest.fixture
def hall(config: LineConfig, view: PlcView, tmp_path: Path) -> Hall:
    supervision = config.supervision.model_copy(update={"restarts": 2})
    config = config.model_copy(update={"supervision": supervision})
    checker = Checker(config, view, DecisionRule(0.5, BUNDLE, "c-1"))
    line = RunningLine(config, tmp_path)
    access = access_of(config.mqtt)
    return Hall(config, tmp_path, 10.0, line, view, checker, access, None, None, None)


def test_a_budget_is_spent_by_more_blows_than_restarts(hall: Hall) -> None:
    assert not hall.budget_spent(CAUSE)
    for _ in range(2):
        hall.note_blow("segmentation")
        hall.note_blow("decision")
    assert not hall.budget_spent(CAUSE)
    hall.note_blow("segmentation")

    assert hall.budget_spent(CAUSE)
    assert not hall.budget_spent("segmentation ended with exit code 3")


def test_a_frozen_supervisor_may_have_ended_every_process(hall: Hall) -> None:
    for stage in ("segmentation", "supervisor", "segmentation"):
        assert not hall.budget_spent(CAUSE)
        hall.note_blow(stage)

    assert hall.budget_spent(CAUSE)


def test_blows_of_long_ago_do_not_count(hall: Hall) -> None:
    for _ in range(3):
        hall.note_blow("segmentation")
    hall.struck = [(at_s - 100, stage) for at_s, stage in hall.struck]

    assert not hall.budget_spent(CAUSE)


def test_a_process_whose_budget_is_spent_is_left_alone_and_must_come_to_a_fault(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it comes back every time, and the line never says FAULT."""
    started = [subprocess.Popen(["sleep", "60"])]

    def stages() -> dict[str, int]:
        if started[-1].poll() is not None:
            started.append(subprocess.Popen(["sleep", "60"]))
        return {"decision": started[-1].pid}

    monkeypatch.setattr(hall.line, "stages", stages)
    monkeypatch.setattr(processes, "SPEND_S", 1.0)

    with pytest.raises(LineError, match="decision died 3 times, and there is no FAULT"):
        processes.Spent(stage="decision").inflict(hall)

    assert [process.poll() for process in started] == [*[-signal.SIGKILL] * 3, None]
    started[-1].kill()
    started[-1].wait()
