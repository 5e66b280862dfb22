"""A real line whose every socket is tapped: its processes, what they say, what its PLC hears."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.fuzz_plc import Plc
from benchmarks.malformed import Frames
from benchmarks.tap import Change, Tap, wait_for_any
from pipeline.config import LineConfig
from pipeline.config_file import write_line
from pipeline.control import Beat, StageReport
from pipeline.errors import LineError
from pipeline.line import TABLE, Row
from pipeline.run_folder import CONFIG_FILE, SESSION_FILE
from pipeline.wire import new_context

ROOT = Path(__file__).resolve().parent.parent
BY_HAND = tuple(row for row in reversed(TABLE) if row.name != "broker")
"""The stages in the order in which a part goes through them: each is started when the sockets that
it connects to are tapped."""
PATIENCE_S = 120.0


class TappedLine:
    """Runs a line from start to end. For one thread, which has to `turn` it all the time."""

    def __init__(self, config: LineConfig, folder: Path) -> None:
        self.config, self._folder = config, folder
        self._stack = ExitStack()
        self._zmq = new_context()
        self.taps: defaultdict[str, list[Tap]] = defaultdict(list)
        """The taps of each channel, of `beat` and of `order`."""
        self.changes: dict[str, Change] = {}
        """What is done to real messages on their way, by channel."""
        self.beats: dict[str, Beat] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.session = ""

    def start(self) -> None:
        """Start all processes, with taps between them, and return when parts are inspected.

        Raises LineError where the line does not get so far.
        """
        file = self._folder / "fuzz.yaml"
        write_line(self.config, file)
        command = [sys.executable, str(ROOT / "run_line.py"), "--config", str(file), "--plain"]
        command += [text for row in BY_HAND for text in ("--by-hand", row.name)]
        command += ["--summary", str(self._folder / "summary.json")]
        self._launch("supervisor", command)
        run_dir = self.config.run_dir
        self._until((run_dir / CONFIG_FILE).exists, "a running supervisor")
        self.session = (run_dir / SESSION_FILE).read_text(encoding="ascii").strip()
        self._tap("beat", run_dir / "control.beats", "consumer")
        self._tap("order", run_dir / "control.orders", "publisher")
        for row in BY_HAND:
            self._start_stage(row)
        self.plc = Plc(self.config)
        self._stack.callback(self.plc.close)
        self._until(lambda: len(self.plc.verdicts) > 0, "a verdict")

    def _start_stage(self, row: Row) -> None:
        file = str(self.config.run_dir / CONFIG_FILE)
        command = [sys.executable, "-m", "pipeline.stage_loop", "--config", file]
        self._launch(row.name, [*command, "--stage", row.name])
        for channel in row.produces:
            self._tap(channel, self.config.run_dir / f"{row.name}.0.{channel}", "producer")

    def turn(self, timeout_ms: int = 1) -> None:
        """Pass everything on once. Raises LineError where a process has ended."""
        taps = [tap for group in self.taps.values() for tap in group]
        wait_for_any(taps, timeout_ms)
        for channel, group in self.taps.items():
            for tap in group:
                tap.pass_on(self.changes.get(channel, _as_it_is))

    def dead(self) -> list[str]:
        """Processes that have ended."""
        return [name for name, process in self.processes.items() if process.poll() is not None]

    def refused(self, stage: str) -> int:
        """Messages that a stage could not use, by its last beat."""
        return self.beats[stage].damaged if stage in self.beats else 0

    def report(self, stage: str) -> StageReport:
        """What a stage said of itself last."""
        return self.beats[stage].report if stage in self.beats else StageReport()

    def stop(self) -> dict[str, int]:
        """End the line in order; the exit code of each process."""
        self.processes["supervisor"].send_signal(signal.SIGINT)
        self._until(lambda: len(self.dead()) == len(self.processes), "the end", alive=False)
        return {name: process.returncode for name, process in self.processes.items()}

    def summary(self) -> dict[str, Any]:
        """The totals that the line wrote at its end."""
        text = (self._folder / "summary.json").read_text(encoding="utf-8")
        summary: dict[str, Any] = json.loads(text)
        return summary

    def close(self) -> None:
        """End what is left."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        for group in self.taps.values():
            for tap in group:
                tap.close()
        self._stack.close()
        self._zmq.term()

    def _launch(self, name: str, command: list[str]) -> None:
        output = self._stack.enter_context((self._folder / f"{name}.out").open("wb"))
        self.processes[name] = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )

    def _tap(self, channel: str, file: Path, bound_by: str) -> None:
        self._until(file.exists, f"socket {file.name}")
        self.taps[channel].append(Tap(self._zmq, file, bound_by))
        if channel == "beat":
            self.changes["beat"] = self._note_beat

    def _note_beat(self, frames: Frames) -> Frames:
        beat = msgspec.msgpack.decode(frames[0], type=Beat)
        self.beats[beat.stage] = beat
        return frames

    def _until(self, condition: Callable[[], bool], what: str, *, alive: bool = True) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            if alive and self.dead():
                raise LineError(f"{', '.join(self.dead())} ended; see {self._folder}")
            if time.monotonic() > end_s:
                raise LineError(f"no {what} within {PATIENCE_S:g} s; see {self._folder}")
            self.turn(20)


def consumers() -> Iterator[tuple[str, str]]:
    """Each channel between two stages, and the stage that takes it."""
    return ((channel, row.name) for row in BY_HAND for channel in row.consumes)


def _as_it_is(frames: Frames) -> Frames:
    return frames
