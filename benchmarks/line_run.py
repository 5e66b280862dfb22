"""Lines as the benchmarks run them: real processes, with all their files in a folder of their own.

A watched line waits in READY until a reader of its verdicts is there, which then gives the command
to start, as a PLC does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.line_choice import ROOT, LineChoice, Settings, check_choice
from benchmarks.line_figures import Run, complete
from benchmarks.shown_camera import Phase
from pipeline.control import Command
from pipeline.errors import LineError
from pipeline.run_folder import CONFIG_FILE, SESSION_FILE
from plc.verdict_watch import VerdictWatch

PATIENT = {"timing.deadline_ms": "60000"}
"""For figures of all parts: none is given up while it waits its turn."""
SUMMARY = "summary.json"
LOOK_S = 0.5
"""How often a line that says nothing is looked at, whether it still runs."""
END_S = 60.0


def run_line(
    choice: LineChoice,
    settings: Settings = PATIENT,
    *,
    parts: int | None = None,
    phases: Sequence[Phase] = (),
) -> Run:
    """A watched line from its first part to its end; arguments as for `watched_line`."""
    with watched_line(choice, settings, parts=parts, phases=phases) as line:
        return line.finish()


class WatchedLine:
    """A running line with its reader; `watched_line` makes and ends it."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], watch: VerdictWatch) -> None:
        self._folder, self._watch = folder, watch
        self.processes = [process]

    @property
    def pid(self) -> int:
        """Number of the supervisor's process."""
        return self.processes[0].pid

    def wait(self, until: Callable[[VerdictWatch], bool], what: str) -> None:
        """Wait for something to be heard. Raises LineError where the line ends before."""
        while not self._watch.wait(until, LOOK_S):
            for process in self.processes:
                if process.poll() is not None and not self._watch.wait(until, LOOK_S):
                    raise LineError(f"the line ended before {what}:\n{last_words(self._folder)}")

    def wait_for_verdicts(self, count: int) -> None:
        """Wait until so many verdicts have come. Raises LineError as `wait`."""
        self.wait(lambda watch: watch.count >= count, f"{count} parts had their verdicts")

    def begin(self, phases: Sequence[Phase]) -> None:
        """Start the camera of the phases, if there are any, and then the line."""
        if phases:
            self.wait(lambda watch: bool(watch.states), "it told its state")
            self.processes.append(_start_camera(self._folder, phases))
        self.wait(lambda watch: "READY" in watch.states, "it was ready")
        self._watch.send(Command.START)
        self.wait(lambda watch: "RUNNING" in watch.states, "it ran")

    def stop(self) -> None:
        """Ask for no further parts, as Ctrl-C does; those in flight get their verdicts."""
        self.processes[0].send_signal(signal.SIGINT)

    def finish(self) -> Run:
        """Wait for the end of its parts. Raises LineError where it does not end well."""
        return Run(_summary_at_end(self.processes, self._folder), self._watch.arrivals())

    def end(self) -> None:
        """End what still runs, and stop listening."""
        self._watch.close()
        for process in self.processes:
            end(process)


def unwatched_line(choice: LineChoice, parts: int, *, shown: bool = False) -> dict[str, Any]:
    """A line as its user runs it, whose verdicts nobody reads; its summary.

    Its camera draws the parts, or with `shown` a `benchmarks.shown_camera` has drawn a few. Raises
    LineError where parts were not inspected: its rate means nothing then.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        changed = choice.changed({**PATIENT, **places(folder), "camera.rate_hz": "null"})
        command = line_command(changed, folder, None if shown else parts)
        command += ["--by-hand", "acquisition"] if shown else []
        processes = [start(command, folder / "line.err")]
        try:
            if shown:
                _wait_for_run_folder(processes[0], folder)
                processes.append(_start_camera(folder, [Phase(None, parts)]))
            return complete(_summary_at_end(processes, folder))
        finally:
            for process in processes:
                end(process)


def _wait_for_run_folder(line: subprocess.Popen[bytes], folder: Path) -> None:
    """Until a camera may join. Raises LineError where the line ends before."""
    files = [folder / "run" / name for name in (CONFIG_FILE, SESSION_FILE)]
    while not all(file.exists() for file in files):
        if line.poll() is not None:
            raise LineError(f"the line ended before it had a run folder:\n{last_words(folder)}")
        time.sleep(LOOK_S / 10)


def _summary_at_end(processes: Sequence[subprocess.Popen[bytes]], folder: Path) -> dict[str, Any]:
    """Wait for the end of a line, the first of the processes; a camera by hand may be another.

    Raises LineError where either ends by a fault.
    """
    line, *cameras = processes
    while line.poll() is None:
        if any(camera.poll() for camera in cameras):
            raise LineError(f"the camera ended by a fault:\n{last_words(folder)}")
        with suppress(subprocess.TimeoutExpired):  # it has parts to do yet
            line.wait(LOOK_S)
    return summary_of(line, folder)


@contextmanager
def watched_line(
    choice: LineChoice,
    settings: Settings = PATIENT,
    *,
    parts: int | None = None,
    phases: Sequence[Phase] = (),
) -> Iterator[WatchedLine]:
    """A running line that has begun.

    Its own camera shows `parts` parts, None as the configuration says; with `phases` a
    `benchmarks.shown_camera` takes its place.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        own = {**places(folder), "supervision.autostart": "false"}
        changed = choice.changed({**settings, **own})
        config = check_choice(changed)
        command = line_command(changed, folder, parts)
        command += ["--by-hand", "acquisition"] if phases else []
        watch = VerdictWatch(config.mqtt)
        line = WatchedLine(folder, start(command, folder / "line.err"), watch)
        try:
            watch.start()
            line.begin(phases)
            yield line
        finally:
            line.end()


def places(folder: Path) -> Settings:
    """Its own folders; and a fault ends it, since nobody is there to reset it."""
    return {
        "data_folder": f"{folder}/data",
        "run_folder": f"{folder}/run",
        "supervision.hold_fault": "false",
    }


def line_command(choice: LineChoice, folder: Path, parts: int | None) -> list[str]:
    """What runs a line and has it write its summary into a folder, after `python`."""
    command = [str(ROOT / "run_line.py"), *choice.arguments(), "--plain"]
    command += ["--summary", str(folder / SUMMARY)]
    return [*command, "--parts", str(parts)] if parts is not None else command


def _start_camera(folder: Path, phases: Sequence[Phase]) -> subprocess.Popen[bytes]:
    command = ["-m", "benchmarks.shown_camera", "--config", str(folder / "run" / CONFIG_FILE)]
    for phase in phases:
        command += ["--phase", str(phase)]
    return start(command, folder / "camera.err")


def start(command: list[str], errors: Path) -> subprocess.Popen[bytes]:
    """Start Python with a command; what it complains of goes to a file."""
    with errors.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def summary_of(line: subprocess.Popen[bytes], folder: Path) -> dict[str, Any]:
    """What a line that has ended wrote. Raises LineError where it did not end well."""
    if line.returncode != 0:
        raise LineError(f"run_line ended with {line.returncode}:\n{last_words(folder)}")
    summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return summary


def last_words(folder: Path) -> str:
    """The end of what the processes of a folder complained of."""
    return "".join(
        file.read_text(encoding="utf-8", errors="replace")[-2000:]
        for file in sorted(folder.glob("*.err"))
    )


def end(process: subprocess.Popen[Any]) -> None:
    """End a process in order, or after a minute without."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
