"""How a stage ends: by an order, by a signal, by a fault; and what its last beat says of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import LineConfig
from pipeline.control import Beat, LineOrder, LineState, StageReport
from pipeline.errors import ConfigError, LineError
from pipeline.line import Row, row_named
from pipeline.logs import log_path
from pipeline.messages import Message
from pipeline.run_folder import RunFolder
from pipeline.stage_loop import CRASHED, stage_command
from pipeline.wire import SupervisorControl, new_context

MakeConfig = Callable[..., LineConfig]
Until = Callable[[Callable[[], object]], None]
ROOT = Path(__file__).resolve().parents[2]
ROW = Row(name="preprocessing", module="")


class FailingStage:
    """Raises at one point of its life."""

    def __init__(self, where: str, error: Exception) -> None:
        self._where, self._error = where, error
        self.closed = 0

    def _at(self, where: str) -> None:
        if where == self._where:
            raise self._error

    def open(self) -> None:
        self._at("open")

    def tick(self, now_monotonic_ns: int, order: LineOrder, room: bool) -> Iterable[Message]:
        self._at("tick")
        return ()

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        return ()

    def report(self) -> StageReport:
        return StageReport()

    def close(self) -> None:
        self.closed += 1
        self._at("close")


@pytest.mark.parametrize(
    ("where", "error", "code", "fault"),
    [
        ("open", ConfigError("the camera has no lens"), 2, "the camera has no lens"),
        ("open", LineError("no port"), 1, "no port"),
        ("open", OSError("no disk"), CRASHED, "OSError: no disk"),
        ("tick", LineError("the broker has ended"), 1, "the broker has ended"),
        ("tick", RuntimeError("boom"), CRASHED, "RuntimeError: boom"),
    ],
)
def test_the_last_beat_says_why_a_stage_ended(
    station: Any, until: Until, where: str, error: Exception, code: int, fault: str
) -> None:
    stage = FailingStage(where, error)
    line = station(ROW, stage)
    line.start()
    until(line.ended)
    until(lambda: line.turn() and line.beats and line.beats[-1].fault)
    last = line.beats[-1]
    assert (line.code, last.exit_code, last.fault, last.ready) == (code, code, fault, False)
    assert stage.closed == (where != "open"), "only what was opened is closed"


def test_a_fault_in_closing_is_logged_and_hides_nothing(
    station: Any, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    line = station(ROW, FailingStage("close", RuntimeError("stuck")))
    line.start()
    until(lambda: line.turn() and line.beats)
    line.loop.terminate()
    until(line.ended)
    assert line.code == 0
    assert any(record.getMessage() == "closing failed" for record in caplog.records)


class RunningFolder:
    """A run folder with a supervisor's sockets, for stages that are started as commands."""

    def __init__(self, config: LineConfig) -> None:
        self.config, self.beats, self._stack = config, list[Beat](), ExitStack()
        self.folder = RunFolder(config)
        self.folder.open()
        self._stack.callback(self.folder.close)
        context = new_context()
        self._stack.callback(context.term)
        self._control = SupervisorControl(context, config.run_dir)
        self._stack.callback(self._control.close)
        self.order = LineOrder(self.folder.session, LineState.RUNNING, "ready", 1)

    def run(self, *options: str, config_file: Path | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pipeline.stage_loop"]
        command += ["--config", str(config_file or self.folder.config_file), *options]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def heard(self, condition: Callable[[Beat], bool]) -> bool:
        self._control.order(self.order)
        while (beat := self._control.beat(10)) is not None:
            self.beats.append(beat)
        return bool(self.beats) and condition(self.beats[-1])

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def running(make_config: MakeConfig) -> Iterator[RunningFolder]:
    running = RunningFolder(make_config())
    yield running
    running.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_stage_in_order(
    running: RunningFolder, until: Until, number: signal.Signals
) -> None:
    process = running.run("--stage", "preprocessing")
    until(lambda: running.heard(lambda beat: beat.ready))
    assert running.beats[-1].pid == process.pid
    assert running.beats[-1].session == running.folder.session
    process.send_signal(number)
    assert process.wait(20) == 0
    until(lambda: running.heard(lambda beat: not beat.fault and beat.exit_code == 0))
    lines = log_path(running.config, "preprocessing").read_text(encoding="utf-8").splitlines()
    said = [json.loads(line)["text"] for line in lines]
    assert said == ["ready", f"{number.name}: ending", "closed"]


def test_an_order_ends_a_stage(running: RunningFolder, until: Until) -> None:
    process = running.run("--stage", "preprocessing")
    until(lambda: running.heard(lambda beat: beat.ready))
    running.order = LineOrder(
        running.folder.session, LineState.HALTED, "stopped", 2, stop=("preprocessing",)
    )
    until(lambda: running.heard(lambda _beat: process.poll() is not None))
    assert process.returncode == 0


def test_a_stage_that_the_table_does_not_have(running: RunningFolder) -> None:
    process = running.run("--stage", "judgement")
    _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "--stage: no stage 'judgement'; the table has broker, recorder, decision" in said


def test_a_stage_of_a_line_that_does_not_run(running: RunningFolder, tmp_path: Path) -> None:
    here = str(running.folder.path)
    text = running.folder.config_file.read_text(encoding="utf-8")
    elsewhere = tmp_path / "line.yaml"
    elsewhere.write_text(text.replace(here, f"{here}-not"), encoding="utf-8")
    process = running.run("--stage", "preprocessing", config_file=elsewhere)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "line 3 is not running" in said
    assert "run_line --line 3 --by-hand STAGE" in said


def test_a_stage_whose_supervisor_is_gone_does_not_start(running: RunningFolder) -> None:
    process = running.run("--stage", "preprocessing", "--supervisor", "1")
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "the supervisor ended while this process was starting" in said


def test_a_stage_dies_with_its_supervisor(running: RunningFolder, until: Until) -> None:
    supervisor = (
        "import os, subprocess, sys\n"
        "command = [*sys.argv[1:], '--supervisor', str(os.getpid())]\n"
        "subprocess.Popen(command)\n"
        "sys.stdin.read()\n"
    )
    row = row_named("preprocessing")
    command = stage_command(running.folder.config_file, row, 0, 0, False)[:-2]
    parent = subprocess.Popen(
        [sys.executable, "-c", supervisor, *command], stdin=subprocess.PIPE, cwd=ROOT
    )
    until(lambda: running.heard(lambda beat: beat.ready))
    child = running.beats[-1].pid
    assert child != parent.pid
    parent.kill()
    parent.wait()
    until(lambda: not alive(child))


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be fetched does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def test_the_command_of_a_stage_names_all_that_it_needs() -> None:
    command = stage_command(Path("/r/line.yaml"), row_named("decision"), 1, 77, True)
    assert command[1:] == [
        *("-m", "pipeline.stage_loop", "--config", "/r/line.yaml", "--stage", "decision"),
        *("--worker", "1", "--supervisor", "77", "--verbose"),
    ]
