"""The processes of a line: started, watched, restarted within a budget, ended."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.batching import expected_ns
from pipeline.config import LineConfig
from pipeline.control import Beat, StageLoad
from pipeline.line import Row
from pipeline.logs import log_path
from pipeline.stage_loop import CRASHED, stage_command
from pipeline.threads import thread_environment

Clock = Callable[[], float]
RETIREMENT_S = 10.0
"""Time that a process has to end in order when another one is to take its place."""
REST_S, MOST_DOUBLINGS = 1.0, 5
"""Pause before a process whose budget is spent is started all the same; it doubles each time."""
BATCHES_OF_SILENCE = 2.0
"""A stage beats between two batches: one that computes is not silent before it took this many."""


@dataclass
class Worker:
    """One process of a row; `by_hand` workers are watched but neither started nor restarted.

    `batch_s`: what a full batch takes, by what it last said. `silent`: it works, but has not
    beaten when it should have. `retired_s`: since when it is to end and be replaced, None else.
    `given_up`: it has failed too often and is not started again before `ProcessGroup.forgive`.
    `rests`: how often it has failed beyond its budget since then, and was to come back all the
    same, not before `rest_until_s`.
    """

    row: Row
    number: int
    by_hand: bool
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    beat: Beat | None = None
    beat_s: float = 0.0
    batch_s: float = 0.0
    silent: bool = False
    restarts: deque[float] = field(default_factory=deque)
    restarted: int = 0
    retired_s: float | None = None
    given_up: bool = False
    rests: int = 0
    rest_until_s: float = 0.0

    @property
    def name(self) -> str:
        """Name of the process in logs and on the terminal."""
        return f"{self.row.name}.{self.number}" if self.number else self.row.name

    @property
    def ready(self) -> bool:
        """Whether its last beat says that it works."""
        return self.beat is not None and self.beat.ready and self.retired_s is None

    @property
    def ended(self) -> bool:
        """Whether there is no process (any more)."""
        return self.process is not None and self.process.poll() is not None

    @property
    def resting(self) -> bool:
        """Whether it has failed too often, and is to come back all the same."""
        return self.rests > 0 and self.beat is None and not self.given_up


@dataclass(frozen=True)
class Loss:
    """A process that ended without being told, or had to be killed because it was silent."""

    worker: Worker
    cause: str
    exit_code: int


class ProcessGroup:
    """All workers of the line that this supervisor answers for."""

    def __init__(
        self,
        config: LineConfig,
        rows: Iterable[Row],
        by_hand: frozenset[str],
        log: logging.Logger,
        *,
        verbose: bool = False,
        clock: Clock = time.monotonic,
    ) -> None:
        self._config, self._log, self._verbose, self._clock = config, log, verbose, clock
        self.workers = [
            Worker(row, number, row.name in by_hand)
            for row in rows
            for number in range(row.workers(config).workers)
        ]

    def start_due(self, config_file: Path, *, speaking: bool = False) -> None:
        """Start every worker that has no process and whose predecessors in the table are ready;
        with `speaking`, only those that the PLC needs to hear of the line.
        """
        ready = {worker.row.name for worker in self.workers if worker.ready}
        names = {worker.row.name for worker in self.workers}
        for worker in self.workers:
            waits_for = set(worker.row.after) & names - ready
            if self._is_due(worker) and not waits_for and (worker.row.speaks or not speaking):
                self._start(worker, config_file)

    def note(self, beat: Beat) -> bool:
        """Take in a beat; False for one of an earlier process of the same worker, or of none."""
        for worker in self.workers:
            if (worker.row.name, worker.number) != (beat.stage, beat.worker):
                continue
            if worker.by_hand or (worker.process and worker.process.pid == beat.pid):
                worker.beat, worker.beat_s = beat, self._clock()
                worker.batch_s = self._full_batch_s(worker.row, beat.load) or worker.batch_s
                return True
        return False

    def losses(self) -> list[Loss]:
        """Workers that ended or fell silent since the last call; each is now without a process."""
        found = []
        for worker in self.workers:
            worker.silent = worker.ready and self._silence_s(worker) > self._alarm_s(worker)
            if worker.retired_s is not None:
                self._finish(worker, worker.retired_s)
                continue
            cause = self._cause_of_loss(worker)
            if cause:
                found.append(Loss(worker, cause, _exit_code(worker)))
                worker.process, worker.silent = None, False
        return found

    def retire(self, names: Iterable[str]) -> None:
        """Ask the processes of these stages to end; `start_due` then starts their successors."""
        wanted = set(names)
        for worker in self.workers:
            if worker.row.name in wanted and worker.process is not None:
                worker.process.terminate()
                worker.retired_s = self._clock()

    def forgive(self) -> None:
        """Begin all budgets anew, also of what was given up."""
        for worker in self.workers:
            worker.restarts.clear()
            worker.rests, worker.rest_until_s = 0, 0.0
            if worker.given_up:
                worker.given_up, worker.beat = False, None

    def may_restart(self, worker: Worker) -> bool:
        """Count a restart against the worker's budget; False when it is spent. Of one that has
        rested it stays so until `forgive`.
        """
        limits, now_s = self._config.supervision, self._clock()
        while worker.restarts and now_s - worker.restarts[0] > limits.window_s:
            worker.restarts.popleft()
        if worker.rests or len(worker.restarts) >= limits.restarts:
            return False
        worker.restarts.append(now_s)
        worker.restarted += 1
        worker.beat = None
        return True

    def rest(self, worker: Worker, *, again: bool) -> bool:
        """Have a worker whose budget is spent started once more after a pause, or `again` and
        again; False where it must be given up, since the PLC hears of the line without it.
        """
        if not worker.row.speaks or (worker.rests and not again):
            return False
        pause_s = REST_S * 2 ** min(worker.rests, MOST_DOUBLINGS)
        worker.beat, worker.rest_until_s = None, self._clock() + pause_s
        worker.rests += 1
        worker.restarted += 1
        return True

    def deaf(self) -> bool:
        """Whether the PLC can neither hear the line nor be heard before `forgive`."""
        return any(worker.given_up and worker.row.speaks for worker in self.workers)

    def all_ready(self) -> bool:
        """Whether every worker works."""
        return all(worker.ready for worker in self.workers)

    def waiting_for(self, *, reloading: bool = False) -> str:
        """`waiting for` the workers that do not work now; empty where all do.

        With `reloading`, those that another recipe replaces are not missed.
        """
        away = [
            worker.name
            for worker in self.workers
            if not (worker.ready or (reloading and worker.row.reloads))
        ]
        return f"waiting for {', '.join(away)}" if away else ""

    def silent(self) -> str:
        """`no sign of life from` the workers that are silent; empty where there is none."""
        names = [worker.name for worker in self.workers if worker.silent]
        return f"no sign of life from {', '.join(names)}" if names else ""

    def all_ended(self, names: Iterable[str]) -> bool:
        """Whether no process of these stages is left."""
        wanted = set(names)
        return all(
            worker.process is None or worker.ended
            for worker in self.workers
            if worker.row.name in wanted
        )

    def kill(self) -> None:
        """End whatever is left, and wait for it."""
        for worker in self.workers:
            if worker.process is not None and worker.process.poll() is None:
                self._log.warning("%s did not end in time and is killed", worker.name)
                worker.process.kill()
                worker.process.wait()

    def _is_due(self, worker: Worker) -> bool:
        """Whether it has no process and is to have one now."""
        alone = worker.process is None and not worker.by_hand
        return alone and not worker.given_up and self._clock() >= worker.rest_until_s

    def _finish(self, worker: Worker, since_s: float) -> None:
        """A retired worker is without process, and ready for another, when its own has ended."""
        assert worker.process is not None
        if self._clock() - since_s > RETIREMENT_S:
            worker.process.kill()
            worker.process.wait()
        if worker.ended:
            worker.process = worker.beat = worker.retired_s = None

    def _start(self, worker: Worker, config_file: Path) -> None:
        command = stage_command(config_file, worker.row, worker.number, os.getpid(), self._verbose)
        threads = worker.row.workers(self._config).threads
        output = log_path(self._config, worker.name).with_suffix(".out")
        with output.open("ab") as file:
            worker.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=None if self._verbose else file,
                stderr=None if self._verbose else file,
                env={**os.environ, **thread_environment(threads), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        worker.started_s = worker.beat_s = self._clock()
        worker.batch_s, worker.silent = 0.0, False
        self._log.info("%s started as process %d", worker.name, worker.process.pid)

    def _cause_of_loss(self, worker: Worker) -> str:
        if worker.process is None:
            return ""
        if worker.ended:
            return _cause_of_end(worker)
        allowed_s = self._allowed_silence_s(worker)
        if self._silence_s(worker) <= allowed_s:
            return ""
        worker.process.kill()
        worker.process.wait()
        return f"gave no sign of life for {allowed_s:g} s and was killed"

    def _full_batch_s(self, row: Row, load: StageLoad) -> float:
        """What a full batch takes at present, also where the latest were smaller; 0 if unknown."""
        sizes = [size for size, _ in load.costs_ms]
        full = row.batch(self._config).size if row.batch else 1
        return expected_ns(load.costs_ms, max([full, *sizes])) / 1e9

    def _silence_s(self, worker: Worker) -> float:
        return self._clock() - worker.beat_s

    def _alarm_s(self, worker: Worker) -> float:
        return max(self._config.supervision.silence_alarm_s, BATCHES_OF_SILENCE * worker.batch_s)

    def _allowed_silence_s(self, worker: Worker) -> float:
        limits = self._config.supervision
        if not worker.ready:
            return limits.start_timeout_s
        return max(limits.silence_timeout_s, BATCHES_OF_SILENCE * worker.batch_s)


def _exit_code(worker: Worker) -> int:
    assert worker.process is not None
    return worker.process.returncode if worker.process.returncode is not None else -9


def _cause_of_end(worker: Worker) -> str:
    if worker.beat is not None and worker.beat.fault:
        return worker.beat.fault
    code = _exit_code(worker)
    if code < 0:
        return f"was killed by signal {-code}"
    return f"ended with exit code {code}" + (" after a fault" if code == CRASHED else "")
