"""Commands to a line whose stages are all played: a script waits for orders and gives commands."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator

import pytest

from pipeline.config import LineConfig
from pipeline.control import (
    Answer,
    Beat,
    Command,
    Encoder,
    LineOrder,
    LineState,
    Request,
    StageReport,
)
from pipeline.line import rows
from pipeline.line_view import LineView
from pipeline.run_folder import RunFolder
from pipeline.supervisor import Supervisor
from pipeline.wire import StageControl, new_context

MakeConfig = Callable[..., LineConfig]
Condition = Callable[[LineOrder], bool]
Script = Callable[["Stages"], Iterator[Condition]]


class Nobody:
    def show(self, view: LineView) -> None: ...


class Stages(threading.Thread):
    """Beats for every stage of a line, and follows a script; at its end the line is interrupted."""

    def __init__(self, folder: RunFolder, names: Iterable[str], script: Script) -> None:
        super().__init__(daemon=True)
        self._folder, self._names = folder, sorted(names)
        self._script = script(self)
        self.over = threading.Event()
        self.orders: list[LineOrder] = []
        self.requests: dict[str, Request] = {}
        self.answers: dict[str, Answer] = {}
        self.away: set[str] = set()
        self.alarm = ""
        self.last = self.settled = self.turns = 0

    def ask(self, id_: str, command: Command, **keys: object) -> Condition:
        """Give a command; the condition is that it has its answer."""
        self.requests[id_] = Request(id_, command, **keys)
        return lambda _order: id_ in self.answers

    def heard(self) -> Condition:
        """That everything said so far has gone out before what is said next."""
        turns = self.turns
        return lambda _order: self.turns > turns + 1

    def run(self) -> None:
        context = new_context()
        control = StageControl(context, self._folder.path)
        order = LineOrder("", LineState.PREOPERATIONAL, "", 0)
        waits = next(self._script)
        while not self.over.is_set():
            control.socket.poll(10)
            order = self._take(control.order()) or order
            while waits is not None and waits(order):
                waits = next(self._script, None)
                if waits is None:
                    os.kill(os.getpid(), signal.SIGINT)
            for name in self._names:
                control.beat(self._beat(name, order))
            self.turns += 1
        control.close()
        context.term()

    def _take(self, order: LineOrder | None) -> LineOrder | None:
        if order is not None:
            self.orders.append(order)
            for answer in order.answers:
                assert self.answers.setdefault(answer.id, answer) == answer
                self.requests.pop(answer.id, None)
        return order

    def _beat(self, name: str, order: LineOrder) -> Beat:
        report = StageReport()
        if name == "acquisition":
            report = StageReport(last_sequence=self.last)
        if name == "decision":
            requests = tuple(self.requests.values())
            report = StageReport(settled_sequence=self.settled, alarm=self.alarm, requests=requests)
        session, pid = self._folder.session, os.getpid()
        ready = name not in self.away
        return Beat(name, 0, pid, session, ready, order.capture, {}, {}, 0, 0, 0, 1.0, report)

    @property
    def history(self) -> list[tuple[LineState, str]]:
        """Every state with its cause, however short it was."""
        seen = {change.number: change for order in self.orders for change in order.transitions}
        return [(seen[number].state, seen[number].cause) for number in sorted(seen)]

    @property
    def states(self) -> list[LineState]:
        """Every state, without changes of the cause alone."""
        found = [state for state, _ in self.history]
        return [state for n, state in enumerate(found) if n == 0 or found[n - 1] is not state]


@pytest.fixture
def play(make_config: MakeConfig, run_dir: object) -> Iterator[Callable[..., Stages]]:
    """Runs a line with a script to its end."""
    folders: list[RunFolder] = []

    def run(script: Script, really: tuple[str, ...] = (), **changes: object) -> Stages:
        config = make_config(
            {
                "run_folder": f"{run_dir}/run",
                "stages.segmentation.workers": 1,
                **{key.replace("__", "."): value for key, value in changes.items()},
            }
        )
        folder = RunFolder(config)
        folder.open()
        folders.append(folder)
        config.log_folder.mkdir(parents=True)
        names = frozenset(row.name for row in rows(config)) - set(really)
        log = logging.getLogger("supervisor")
        supervisor = Supervisor(config, folder, log, Nobody(), by_hand=names)
        stages = Stages(folder, names, script)
        stages.start()
        try:
            supervisor.run()
        finally:
            stages.over.set()
            stages.join()
        return stages

    yield run
    for folder in folders:
        folder.close()


def in_state(state: LineState) -> Condition:
    return lambda order: order.state is state


def because(cause: str) -> Condition:
    return lambda order: order.cause == cause


def test_pause_takes_no_parts_and_resume_takes_them_again(play: Callable[..., Stages]) -> None:
    def script(line: Stages) -> Iterator[Condition]:
        yield in_state(LineState.RUNNING)
        line.last = 3
        yield line.ask("1", Command.PAUSE)
        yield lambda order: order.state is LineState.PAUSED and not order.capture
        yield line.ask("2", Command.RESUME)
        yield lambda order: order.state is LineState.RUNNING and order.capture
        line.settled = 3

    line = play(script)
    assert [answer.state for answer in line.answers.values()] == [
        LineState.PAUSED,
        LineState.RUNNING,
    ]
    assert (LineState.PAUSED, "command pause") in line.history
    assert line.states == [
        LineState.RUNNING,
        LineState.PAUSED,
        LineState.RUNNING,
        LineState.STOPPING,
        LineState.HALTED,
    ]


def test_stop_finishes_the_parts_in_flight_and_then_waits_for_start(
    play: Callable[..., Stages],
) -> None:
    def script(line: Stages) -> Iterator[Condition]:
        yield in_state(LineState.RUNNING)
        line.last, line.settled = 5, 4
        yield lambda order: order.last_sequence == 5
        yield line.ask("1", Command.STOP)
        for _ in range(5):
            yield in_state(LineState.STOPPING)
        line.settled = 5
        yield in_state(LineState.READY)
        yield line.ask("2", Command.START)
        yield in_state(LineState.RUNNING)

    line = play(script)
    assert line.states[:4] == [
        LineState.RUNNING,
        LineState.STOPPING,
        LineState.READY,
        LineState.RUNNING,
    ]
    assert (LineState.READY, "every part has its verdict") in line.history
    assert all(answer.accepted for answer in line.answers.values())


def test_a_line_without_autostart_waits_for_start(play: Callable[..., Stages]) -> None:
    def script(line: Stages) -> Iterator[Condition]:
        yield lambda order: order.state is LineState.READY and not order.capture
        line.away = {"segmentation"}
        yield line.heard()
        yield line.ask("early", Command.START)
        line.away = set()
        yield line.heard()
        yield line.ask("1", Command.START)
        yield in_state(LineState.RUNNING)

    line = play(script, supervision__autostart=False)
    assert (LineState.READY, "waiting for segmentation") in line.history
    assert line.answers["early"].reason == "waiting for segmentation"
    assert line.answers["1"].accepted
    assert line.states[:2] == [LineState.READY, LineState.RUNNING]


def test_resume_is_refused_while_a_process_is_away(play: Callable[..., Stages]) -> None:
    def script(line: Stages) -> Iterator[Condition]:
        yield in_state(LineState.RUNNING)
        line.away = {"segmentation"}
        yield in_state(LineState.DEGRADED)
        yield line.ask("1", Command.PAUSE)
        yield line.ask("2", Command.RESUME)
        line.away = set()
        yield line.heard()
        yield line.ask("3", Command.RESUME)
        yield in_state(LineState.RUNNING)

    line = play(script)
    assert line.answers["2"].reason == "waiting for segmentation"
    assert (line.answers["1"].accepted, line.answers["3"].accepted) == (True, True)


@pytest.mark.parametrize(
    ("state", "command"), [(LineState.PAUSED, Command.PAUSE), (LineState.STOPPING, Command.STOP)]
)
def test_trouble_of_a_line_that_takes_no_parts_is_its_cause(
    play: Callable[..., Stages], state: LineState, command: Command
) -> None:
    def script(line: Stages) -> Iterator[Condition]:
        yield in_state(LineState.RUNNING)
        line.last = 3
        yield lambda order: order.last_sequence == 3
        yield line.ask("1", command)
        line.away = {"segmentation"}
        yield because("waiting for segmentation")
        line.alarm = "the disk is full"
        yield because("waiting for segmentation; the disk is full")
        line.away = set()
        yield because("the disk is full")
        line.alarm = ""
        yield because("the alarm is over")
        line.away = {"decision"}
        yield because("waiting for decision")
        line.away = set()
        yield because("all processes are ready again")
        line.settled = 3

    line = play(script)
    assert {told for told, _ in line.history[2:8]} == {state}
    assert [cause for _, cause in line.history[1:8]] == [
        f"command {command}",
        "waiting for segmentation",
        "waiting for segmentation; the disk is full",
        "the disk is full",
        "the alarm is over",
        "waiting for decision",
        "all processes are ready again",
    ]
    assert not any(order.capture for order in line.orders if order.state is state)


def test_trouble_outlasts_a_command(play: Callable[..., Stages]) -> None:
    def script(line: Stages) -> Iterator[Condition]:
        yield in_state(LineState.RUNNING)
        line.alarm = "the disk is full"
        yield in_state(LineState.DEGRADED)
        yield line.ask("1", Command.PAUSE)
        yield because("the disk is full")
        yield line.ask("2", Command.RESUME)
        yield in_state(LineState.DEGRADED)

    line = play(script)
    assert line.history[1:6] == [
        (LineState.DEGRADED, "the disk is full"),
        (LineState.PAUSED, "command pause"),
        (LineState.PAUSED, "the disk is full"),
        (LineState.RUNNING, "command resume"),
        (LineState.DEGRADED, "the disk is full"),
    ]


def test_what_does_not_fit_the_state_is_refused_and_changes_nothing(
    play: Callable[..., Stages],
) -> None:
    def script(line: Stages) -> Iterator[Condition]:
        yield in_state(LineState.RUNNING)
        for command in (Command.START, Command.RESUME, Command.RESET_FAULT):
            yield line.ask(command, command)
        yield line.ask("r", Command.SELECT_RECIPE, recipe="x")

    line = play(script)
    assert {answer.accepted for answer in line.answers.values()} == {False}
    assert line.answers["r"].reason == (
        "select_recipe is possible in READY and PAUSED; the line is RUNNING"
    )
    assert line.states == [LineState.RUNNING, LineState.STOPPING, LineState.HALTED]


def test_an_alarm_degrades_the_line_with_its_words(play: Callable[..., Stages]) -> None:
    alarm = "the PLC has not acknowledged the reject of part 7"

    def script(line: Stages) -> Iterator[Condition]:
        yield in_state(LineState.RUNNING)
        line.alarm = alarm
        yield lambda order: order.state is LineState.DEGRADED and order.capture
        line.alarm = ""
        yield in_state(LineState.RUNNING)

    line = play(script)
    assert line.history[1:3] == [
        (LineState.DEGRADED, alarm),
        (LineState.RUNNING, "the alarm is over"),
    ]


def test_batch_and_encoder_go_to_every_stage(play: Callable[..., Stages]) -> None:
    encoder = Encoder(12.5, 250.0, 7)

    def script(line: Stages) -> Iterator[Condition]:
        yield in_state(LineState.RUNNING)
        yield line.ask("1", Command.NEXT_BATCH, batch="B-7")
        yield line.ask("2", Command.SET_ENCODER, encoder=encoder)
        yield lambda order: (order.batch, order.encoder) == ("B-7", encoder)

    line = play(script)
    assert all(answer.accepted for answer in line.answers.values())


def test_stages_that_run_by_hand_are_not_replaced_for_a_recipe(play: Callable[..., Stages]) -> None:
    def script(line: Stages) -> Iterator[Condition]:
        yield in_state(LineState.RUNNING)
        yield line.ask("1", Command.PAUSE)
        yield line.ask("2", Command.SELECT_RECIPE, recipe="default")

    line = play(script)
    assert "segmentation, reconstruction runs by hand" in line.answers["2"].reason


def test_a_fault_is_held_until_it_is_reset(play: Callable[..., Stages]) -> None:
    """An embedded broker whose port is taken fails again and again, until the port is free."""
    taken = socket.create_server(("127.0.0.1", 0))

    def script(line: Stages) -> Iterator[Condition]:
        yield in_state(LineState.FAULT)
        yield line.ask("1", Command.START)
        yield line.ask("2", Command.RESET_FAULT)
        yield lambda _order: line.states.count(LineState.FAULT) == 2
        taken.close()
        yield line.ask("3", Command.RESET_FAULT)
        yield in_state(LineState.RUNNING)

    line = play(
        script,
        really=("broker",),
        mqtt__broker__port=taken.getsockname()[1],
        supervision={"restarts": 0, "hold_fault": True},
    )
    assert line.answers["1"].reason == "start is possible in READY; the line is FAULT"
    assert line.states == [
        LineState.FAULT,
        LineState.PREOPERATIONAL,
        LineState.FAULT,
        LineState.PREOPERATIONAL,
        LineState.RUNNING,
        LineState.STOPPING,
        LineState.HALTED,
    ]
