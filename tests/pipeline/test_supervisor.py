"""The state machine of a line: its stages played by the test, or real ones that cannot work."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from pipeline.config import LineConfig
from pipeline.control import LineOrder, LineState, LineStatistics, StageLoad, StageReport
from pipeline.errors import LineError
from pipeline.line import rows
from pipeline.messages import Verdict
from pipeline.run_folder import RunFolder
from pipeline.supervisor import Supervisor
from pipeline.wire import new_context
from played_line import Players, Views

MakeConfig = Callable[..., LineConfig]
STATISTICS = LineStatistics(7, dict.fromkeys(Verdict, 2), {}, {}, 1.0, None, "b", "c")


@pytest.fixture
def config(make_config: MakeConfig, run_dir: Path, tmp_path: Path) -> LineConfig:
    return make_config(
        {
            "run_folder": str(run_dir / "run"),
            "model.bundle": str(tmp_path / "none"),
            "stages.segmentation.workers": 1,  # the players beat for one worker of each stage
        }
    )


@pytest.fixture
def folder(config: LineConfig) -> Iterator[RunFolder]:
    folder = RunFolder(config)
    folder.open()
    config.log_folder.mkdir(parents=True)
    yield folder
    folder.close()


def run(config: LineConfig, folder: RunFolder, players: Players) -> tuple[Supervisor, Views]:
    """A whole life of a line whose stages are all played."""
    views = Views()
    names = frozenset(row.name for row in rows(config))
    log = logging.getLogger("supervisor")
    supervisor = Supervisor(config, folder, log, views, by_hand=names)
    players.start()
    try:
        supervisor.run()
    finally:
        players.over.set()
        players.join()
    return supervisor, views


def names_of(config: LineConfig) -> list[str]:
    return [row.name for row in rows(config)]


def test_a_line_starts_runs_drains_and_stops_in_order(
    config: LineConfig, folder: RunFolder
) -> None:
    class Line(Players):
        draining = 0

        def play(self, stage: str, order: LineOrder) -> StageReport:
            if stage == "acquisition":
                given_out = 9 if order.state is not LineState.PREOPERATIONAL else 0
                return StageReport(last_sequence=given_out, exhausted=bool(given_out))
            if stage == "decision":
                self.draining += order.state is LineState.STOPPING
                settled = 9 if self.draining > 10 else 4
                return StageReport(settled_sequence=settled, statistics=STATISTICS)
            return StageReport()

    line = Line(folder, names_of(config))
    supervisor, views = run(config, folder, line)
    states = [order.state for order in line.orders]
    # Shown too, each of them, however short it was: this line runs for a moment only.
    assert list(dict.fromkeys(view.state for view in views.views)) == list(dict.fromkeys(states))
    assert list(dict.fromkeys(states)) == [
        LineState.PREOPERATIONAL,
        LineState.RUNNING,
        LineState.STOPPING,
        LineState.HALTED,
    ]
    assert line.draining > 10, "it waits until every part has its verdict"
    by_state = {order.state: order for order in line.orders}
    assert not by_state[LineState.PREOPERATIONAL].capture
    assert next(order for order in line.orders if order.state is LineState.RUNNING).capture
    assert not by_state[LineState.STOPPING].capture
    assert by_state[LineState.STOPPING].cause == "the camera has no further parts"
    assert by_state[LineState.STOPPING].last_sequence == 9
    assert all(not order.stop for order in line.orders if order.state is not LineState.HALTED)
    summary = supervisor.summary()
    assert summary is not None
    assert summary.statistics == STATISTICS
    assert views.views[-1].statistics == STATISTICS
    shown = [stage.name for stage in views.views[-1].stages]
    assert shown == [*reversed(names_of(config))]


def test_what_batches_take_reaches_the_stages_and_the_summary(
    config: LineConfig, folder: RunFolder
) -> None:
    class Line(Players):
        def load(self, stage: str) -> StageLoad:
            has_batches = stage in ("segmentation", "recorder")
            return StageLoad({2: 9}, costs_ms=((2, 12.5),)) if has_batches else StageLoad()

        def play(self, stage: str, order: LineOrder) -> StageReport:
            told = stage == "acquisition" and bool(order.costs_ms)
            return StageReport(exhausted=told, statistics=STATISTICS)

    line = Line(folder, names_of(config))
    supervisor, _ = run(config, folder, line)
    assert line.orders[-1].costs_ms == {"segmentation": ((2, 12.5),)}
    summary = supervisor.summary()
    assert summary is not None
    assert summary.stages == {name: line.load(name) for name in ("segmentation", "recorder")}


def test_shared_processes_beat_are_shown_and_counted_under_both_names(
    config: LineConfig, folder: RunFolder
) -> None:
    both = "reconstruction+segmentation"

    class Line(Players):
        def load(self, stage: str) -> StageLoad:
            return StageLoad({2: 9}, costs_ms=((2, 12.5),)) if stage == both else StageLoad()

        def play(self, stage: str, order: LineOrder) -> StageReport:
            told = stage == "acquisition" and bool(order.costs_ms)
            return StageReport(exhausted=told, statistics=STATISTICS)

    stages = config.stages.model_validate({"segmentation": {"with": "reconstruction"}})
    shared = config.model_copy(update={"stages": stages})
    line = Line(folder, names_of(shared))
    supervisor, views = run(shared, folder, line)
    assert line.orders[-1].costs_ms == {both: ((2, 12.5),)}
    summary = supervisor.summary()
    assert summary is not None
    assert summary.stages == {both: line.load(both)}
    shown = {stage.name: stage.batch for stage in views.views[-1].stages}
    assert shown[both] == 2.0
    assert not {"reconstruction", "segmentation"} & set(shown)


def test_stages_are_stopped_before_the_log_and_the_broker(
    config: LineConfig, folder: RunFolder
) -> None:
    class Line(Players):
        def play(self, stage: str, order: LineOrder) -> StageReport:
            return StageReport(exhausted=stage == "acquisition")

    supervisor = Supervisor(
        config, folder, logging.getLogger("s"), Views(), by_hand=frozenset(names_of(config))
    )
    said: list[LineOrder] = []
    line = Line(folder, names_of(config))
    line.start()
    change = supervisor._change

    def listen(*values: object, **more: object) -> None:
        change(*values, **more)
        said.append(supervisor._order)

    supervisor._change = listen
    supervisor.run()
    line.over.set()
    line.join()
    stops = [set(order.stop) for order in said if order.stop]
    everything = set(names_of(config))
    assert stops == [everything - {"recorder", "broker"}, everything - {"broker"}, everything]


def test_a_stage_that_is_away_makes_the_line_degraded(
    config: LineConfig, folder: RunFolder
) -> None:
    class Line(Players):
        seen = 0

        def ready(self, stage: str, order: LineOrder) -> bool:
            if stage == "segmentation" and order.state is LineState.RUNNING:
                self.seen += 1
            away = stage == "segmentation" and 10 < self.seen < 40
            if away:
                self.seen += 1
            return not away

        def play(self, stage: str, order: LineOrder) -> StageReport:
            return StageReport(exhausted=stage == "acquisition" and self.seen > 60)

    line = Line(folder, names_of(config))
    _, views = run(config, folder, line)
    told = list(dict.fromkeys((order.state, order.cause, order.capture) for order in line.orders))
    assert (LineState.DEGRADED, "waiting for segmentation", True) in told
    assert (LineState.RUNNING, "all processes are ready again", True) in told
    assert LineState.DEGRADED in {view.state for view in views.views}


def test_a_stage_that_is_silent_makes_the_line_degraded(
    config: LineConfig, folder: RunFolder
) -> None:
    class Line(Players):
        silent = "segmentation"

        def names(self) -> list[str]:
            """Those that beat: all, but for the time from RUNNING to the alarm."""
            states = [order.state for order in self.orders]
            over = LineState.DEGRADED in states or LineState.RUNNING not in states
            return [name for name in self._names if over or name != self.silent]

        def play(self, stage: str, order: LineOrder) -> StageReport:
            back = any("again" in order.cause for order in self.orders)
            return StageReport(exhausted=stage == "acquisition" and back)

    line = Line(folder, names_of(config))
    _, views = run(config, folder, line)
    told = list(dict.fromkeys((order.state, order.cause, order.capture) for order in line.orders))
    assert told[2:4] == [
        (LineState.DEGRADED, "no sign of life from segmentation", True),
        (LineState.RUNNING, "all processes are ready again", True),
    ]
    health = {stage.health for view in views.views for stage in view.stages}
    assert "silent" in health


def test_a_flood_of_damaged_beats_is_counted_and_holds_no_order_up(
    config: LineConfig, folder: RunFolder
) -> None:
    class Line(Players):
        flooded = 0

        def play(self, stage: str, order: LineOrder) -> StageReport:
            if stage == "acquisition" and order.state is LineState.RUNNING:
                self.flooded += self.flood()
            return StageReport(
                exhausted=stage == "acquisition" and self.flooded >= 20_000, statistics=STATISTICS
            )

        def flood(self) -> int:
            """As many as find room."""
            count = 0
            while count < 2000 and self.control.send(b"?"):
                count += 1
            return count

        def run(self) -> None:
            context = new_context()
            self.control = RawBeats(context, self._folder.path)
            super().run()
            self.control.close()
            context.term()

    line = Line(folder, names_of(config))
    supervisor, _ = run(config, folder, line)
    summary = supervisor.summary()
    assert summary is not None
    assert 0 < summary.refused["supervisor"] <= line.flooded
    assert line.orders[-1].state is LineState.HALTED
    assert LineState.STOPPING in {order.state for order in line.orders}


class RawBeats:
    """A way to the supervisor for what is no beat."""

    def __init__(self, context: zmq.Context, folder: Path) -> None:
        self._socket = context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(f"ipc://{folder}/control.beats")

    def send(self, data: bytes) -> bool:
        try:
            self._socket.send(data, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_a_second_one_does_not_wait(
    config: LineConfig, folder: RunFolder, number: signal.Signals
) -> None:
    class Line(Players):
        draining = 0

        def play(self, stage: str, order: LineOrder) -> StageReport:
            if stage == "acquisition" and order.state is LineState.RUNNING and not self.draining:
                os.kill(os.getpid(), number)
                self.draining = 1
            if stage == "decision" and order.state is LineState.STOPPING:
                self.draining += 1
                if self.draining == 20:
                    os.kill(os.getpid(), number)
            return StageReport(last_sequence=5 if stage == "acquisition" else 0)

    before = signal.getsignal(number)
    line = Line(folder, names_of(config))
    run(config, folder, line)
    assert line.draining >= 20
    stopping = [order for order in line.orders if order.state is LineState.STOPPING]
    assert stopping[0].cause == "asked to stop"
    assert line.orders[-1].state is LineState.HALTED
    assert signal.getsignal(number) == before


def started(caplog: pytest.LogCaptureFixture, name: str) -> int:
    return sum(f"{name} started as process" in text for text in caplog.messages)


@pytest.mark.parametrize("held", [False, True])
def test_a_stage_that_is_not_ready_to_run_is_not_started_again(
    config: LineConfig, folder: RunFolder, caplog: pytest.LogCaptureFixture, held: bool
) -> None:
    """Decision without a model bundle: exit code 3, and its own words for the user. A line whose
    fault nobody could reset is not held.
    """
    caplog.set_level(logging.INFO)
    supervision = config.supervision.model_copy(update={"hold_fault": held})
    config = config.model_copy(update={"supervision": supervision})
    others = frozenset(names_of(config)) - {"decision"}
    views = Views()
    log = logging.getLogger("supervisor")
    supervisor = Supervisor(config, folder, log, views, by_hand=others)
    with pytest.raises(LineError, match=r"no model bundle in .*train_line --line 3") as caught:
        supervisor.run()
    assert caught.value.exit_code == 3
    assert started(caplog, "decision") == 1
    assert views.views[-1].state in (LineState.FAULT, LineState.PREOPERATIONAL)
    assert supervisor.view().state is LineState.FAULT
    assert supervisor.summary() is None


class Killer(logging.Handler):
    """Kills every process as soon as the supervisor has logged its start."""

    def emit(self, record: logging.LogRecord) -> None:
        if "started as process" in record.msg:
            os.kill(record.args[1], signal.SIGKILL)


def test_decision_comes_back_once_more_to_say_that_the_line_has_a_fault(
    config: LineConfig, folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """Here it dies of that, too: it is given up, and nobody waits for it."""
    caplog.set_level(logging.INFO)
    supervision = config.supervision.model_copy(update={"restarts": 0})
    config = config.model_copy(update={"supervision": supervision})
    views, log = Views(), logging.getLogger("supervisor whose processes die")
    log.addHandler(Killer())
    others = frozenset(names_of(config)) - {"decision"}
    supervisor = Supervisor(config, folder, log, views, by_hand=others)
    with pytest.raises(LineError, match="decision failed more than 0 times"):
        supervisor.run()
    assert started(caplog, "decision") == 2
    warnings = {text for view in views.views for text in view.warnings}
    assert any("started again after a pause" in text for text in warnings)
    assert supervisor.view().state is LineState.FAULT


def test_a_stage_that_fails_again_and_again_is_a_fault(
    make_config: MakeConfig, run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An embedded broker whose port is taken: restarted as often as allowed, then given up."""
    caplog.set_level(logging.INFO)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = make_config(
            {
                "run_folder": str(run_dir / "run"),
                "mqtt.broker.port": port,
                "supervision.restarts": 1,
            }
        )
        folder = RunFolder(config)
        folder.open()
        config.log_folder.mkdir(parents=True)
        others = frozenset(names_of(config)) - {"broker"}
        log = logging.getLogger("supervisor")
        supervisor = Supervisor(config, folder, log, Views(), by_hand=others)
        with pytest.raises(LineError, match=f"broker failed more than 1 times .*{port}") as caught:
            supervisor.run()
        folder.close()
    assert caught.value.exit_code == 1
    assert started(caplog, "broker") == 2
