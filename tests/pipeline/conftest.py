"""A line's configuration, a run folder short enough for sockets, and a stage under its loop."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from pipeline.bell import Bell
from pipeline.config import LineConfig
from pipeline.config_file import line_file, load_line
from pipeline.control import Beat, LineOrder, LineState
from pipeline.line import CHANNELS, Row
from pipeline.stage import Stage, StageContext
from pipeline.stage_loop import StageLoop
from pipeline.wire import Inlet, Outlet, SupervisorControl, endpoint, new_context

SESSION = "20261122-071502-3f9a"
WAIT_S = 20.0
MakeConfig = Callable[..., LineConfig]


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A private folder with a short name: local sockets take no long ones."""
    folder = Path(tempfile.mkdtemp(prefix="line-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make_config(tmp_path: Path, run_dir: Path) -> MakeConfig:
    """Line 3 with its folders below the test's own and a process for each stage; further changes
    by key path.
    """

    def make(changes: dict[str, Any] | None = None) -> LineConfig:
        folders = {"data_folder": str(tmp_path / "data"), "run_folder": str(run_dir)}
        own = {**folders, "stages": {}}
        return load_line(line_file(3), list({**own, **(changes or {})}.items()))

    return make


@pytest.fixture
def root_log() -> Iterator[logging.Logger]:
    """The root logger, which commands set up for their process; afterwards as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield root
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers, root.level = handlers, level


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Asks for a condition again and again until it holds; fails after a while."""

    def wait(condition: Callable[[], object]) -> None:
        end = time.monotonic() + WAIT_S
        pace = threading.Event()
        while not condition():
            assert time.monotonic() < end, "the condition never came true"
            pace.wait(0.002)

    return wait


class Station:
    """One stage under its loop, in a thread; around it a supervisor, a producer and consumers."""

    def __init__(self, row: Row, stage: Stage, config: LineConfig, skew_ns: list[int]) -> None:
        self.config, self._zmq, self._stack = config, new_context(), ExitStack()
        self.control = SupervisorControl(self._zmq, config.run_dir)
        self.beats: list[Beat] = []
        self.bell = Bell()
        self.loop = StageLoop(
            row,
            stage,
            StageContext(config, SESSION, 0, logging.getLogger("station"), self.bell),
            clock=lambda: time.monotonic_ns() + skew_ns[0],
        )
        self.order = LineOrder(SESSION, LineState.RUNNING, "ready", 1, capture=True)
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self.code = self.loop.run()

    def start(self) -> None:
        self._thread.start()

    def outlet(self, stage: str, channel: str, capacity: int = 1000) -> Outlet:
        address = endpoint(self.config.run_dir, stage, 0, channel)
        return self._opened(Outlet(self._zmq, address, capacity))

    def inlet(self, stage: str, channel: str, capacity: int = 1000) -> Inlet:
        address = endpoint(self.config.run_dir, stage, 0, channel)
        return self._opened(Inlet(self._zmq, [address], capacity, CHANNELS[channel].kind))

    def ways(self) -> tuple[Outlet, Inlet]:
        """The way into preprocessing, and the way out of it."""
        return self.outlet("acquisition", "captured"), self.inlet("preprocessing", "prepared")

    def raw(self, stage: str, channel: str) -> Any:
        """A socket that sends whatever it is given."""
        socket = self._opened(self._zmq.socket(zmq.PUSH))
        socket.bind(endpoint(self.config.run_dir, stage, 0, channel))
        return socket

    def _opened(self, end: Any) -> Any:
        self._stack.callback(end.close)
        return end

    def turn(self) -> bool:
        """What the supervisor does again and again; True so that conditions can begin with it."""
        self.control.order(self.order)
        while (beat := self.control.beat(0)) is not None:
            self.beats.append(beat)
        return True

    def ended(self) -> bool:
        return self.turn() and not self._thread.is_alive()

    def close(self) -> None:
        self.loop.terminate()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the loop does not end"
        self._stack.close()
        self.control.close()
        self._zmq.term()


@pytest.fixture
def skew_ns() -> list[int]:
    """What the loop's clock is ahead of the machine's: change it and time has passed."""
    return [0]


@pytest.fixture
def station(
    make_config: MakeConfig, skew_ns: list[int]
) -> Iterator[Callable[[Row, Stage], Station]]:
    stations: list[Station] = []

    def build(row: Row, stage: Stage) -> Station:
        stations.append(Station(row, stage, make_config({"stages.queue": 2}), skew_ns))
        return stations[-1]

    yield build
    for built in stations:
        built.close()
