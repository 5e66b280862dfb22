"""The supervisor: starts the line, watches it, mends it within limits, and ends it in order."""

from __future__ import annotations

import logging
import signal
import time
from collections import defaultdict, deque
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Protocol

from pipeline.batching import slowest
from pipeline.commander import Commander
from pipeline.config import LineConfig
from pipeline.control import BatchCosts, Beat, LineOrder, LineState, LineStatistics
from pipeline.errors import LineError, WireError
from pipeline.line import row_named, rows, stages_after, table_faults
from pipeline.line_view import FlowCounter, LineView, RateMeter, stage_view
from pipeline.order_book import OrderBook
from pipeline.process_group import Loss, ProcessGroup, Worker
from pipeline.run_folder import RunFolder
from pipeline.states import CAPTURING, TRANSITIONS, Event, next_state
from pipeline.summary import RunSummary
from pipeline.telemetry import GpuWatch
from pipeline.wire import SupervisorControl, new_context

TURN_MS = 50
MOST_BEATS = 500
"""Beats that are taken in before the next order is due; more is a flood."""
ORDER_PERIOD_S = 0.1
VIEW_PERIOD_S = 0.25
STOP_PATIENCE_S = 10.0
NEWS_S = 30.0
"""How long the loss of a process is shown."""
NO_RESTART = (2, 3)
"""Exit codes that say that starting again would not help."""


class Onlooker(Protocol):
    """Somebody who is shown the line a few times a second."""

    def show(self, view: LineView) -> None:
        """Show the line as it is now."""


class Supervisor:
    """Runs one line from start to end; `run` may be called once."""

    def __init__(
        self,
        config: LineConfig,
        folder: RunFolder,
        log: logging.Logger,
        onlooker: Onlooker,
        *,
        by_hand: frozenset[str] = frozenset(),
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert not table_faults(), table_faults()
        self._config, self._folder, self._log, self._onlooker = config, folder, log, onlooker
        self._clock = clock
        self._rows = rows(config)
        self._way = stages_after(row_named("acquisition"), self._rows)
        self._group = ProcessGroup(config, self._rows, by_hand, log, verbose=verbose)
        self._flow, self._rate = FlowCounter(), RateMeter()
        self._gpus = GpuWatch(*config.devices, log=log)
        self._news: deque[tuple[float, str]] = deque(maxlen=3)
        self._book = OrderBook(folder.session, config.recipe, log)
        self._commander = Commander(config, folder, self._group, self._book, self._move)
        self._ordered_s = self._viewed_s = 0.0
        self._started_s = clock()
        self._parts_per_second = 0.0
        self._stop_requests = self._refused = 0
        self._trouble = ""
        self._fault: LineError | None = None
        self.statistics: LineStatistics | None = None

    @property
    def _order(self) -> LineOrder:
        return self._book.order

    def run(self) -> None:
        """Start, run until exhausted or asked to stop, and end. Raises a fault that ended it."""
        self._zmq = new_context()
        self._control = SupervisorControl(self._zmq, self._folder.path)
        try:
            with _StopSignals(self._request_stop):
                self._operate()
                self._drain()
                self._stop()
        finally:
            self._commander.close("the line has ended")
            self._group.kill()
            self._take_beats()
            self._control.close()
            self._zmq.term()
        if self._fault is not None:
            raise self._fault

    def _operate(self) -> None:
        """Start what is due, watch, judge and obey, until the line is to end."""
        while not self._ending():
            self._group.start_due(self._folder.config_file)
            self._turn()
            self._judge()

    def _judge(self) -> None:
        """What follows from how the processes are."""
        match self._order.state:
            case LineState.PREOPERATIONAL if self._group.all_ready():
                by_itself = self._config.supervision.autostart
                self._move(Event.BEGIN if by_itself else Event.WAIT, "all processes are ready")
            case LineState.PAUSED | LineState.READY:
                if self._commander.go_on(self._idle()):
                    self._give_order()
            case LineState.STOPPING if self._idle():
                self._move(Event.DRAINED, "every part has its verdict")
        if Event.TROUBLE in TRANSITIONS[self._order.state]:
            self._judge_trouble()

    def _judge_trouble(self) -> None:
        """Say what is wrong while a process is away or somebody sounds an alarm, and its end."""
        loading = self._commander.loading
        away, silent = self._group.waiting_for(reloading=bool(loading)), self._group.silent()
        trouble = "; ".join(filter(None, [away, silent, *self._alarms()]))
        if trouble and trouble != self._order.cause:
            self._move(Event.TROUBLE, trouble)
        elif not trouble and self._trouble and self._order.cause == self._trouble:
            was_away = self._trouble.startswith(("waiting for ", "no sign of life from "))
            over = "all processes are ready again" if was_away else "the alarm is over"
            self._move(Event.MENDED, loading or over)
        self._trouble = trouble

    def _alarms(self) -> list[str]:
        return [
            worker.beat.report.alarm
            for worker in self._group.workers
            if worker.ready and worker.beat is not None and worker.beat.report.alarm
        ]

    def _drain(self) -> None:
        """Capture nothing more and wait until every part has its verdict."""
        self._commander.close("the line is ending")
        if self._fault is None:
            cause = "asked to stop" if self._stop_requests else "the camera has no further parts"
            self._move(Event.END, cause)
        patience_s = self._config.timing.deadline_ms / 1e3 + STOP_PATIENCE_S
        end_s = self._clock() + patience_s
        while self._clock() < end_s and self._stop_requests < 2 and not self._settled():
            speaking = self._fault is not None  # to say it, and the last verdicts
            self._group.start_due(self._folder.config_file, speaking=speaking)
            self._turn()

    def _stop(self) -> None:
        """End the stages that make verdicts, then the log that records them, then the broker."""
        names = {row.name for row in self._rows}
        state = LineState.FAULT if self._fault else LineState.HALTED
        cause = _one_line(self._fault) if self._fault else "stopped"
        for last in ({"recorder", "broker"}, {"broker"}, set[str]()):
            self._change(state, cause, stop=tuple(sorted(names - last)))
            end_s = self._clock() + STOP_PATIENCE_S
            while self._clock() < end_s and not self._group.all_ended(names - last):
                self._turn()

    def _turn(self) -> None:
        """Give the order, take in beats, deal with losses, show the line."""
        now_s = self._clock()
        if now_s - self._ordered_s >= ORDER_PERIOD_S:
            self._give_order()
        self._take_beats()
        if not self._order.stop:
            for loss in self._group.losses():
                self._mend(loss)
        if now_s - self._viewed_s >= VIEW_PERIOD_S:
            self._show()

    def _give_order(self) -> None:
        self._ordered_s = self._clock()
        self._book.update(costs_ms=self._costs_ms())
        self._control.order(self._order)

    def _costs_ms(self) -> dict[str, BatchCosts]:
        """What batches take in the stages on the way of a part, as their beats say."""
        tables: defaultdict[str, list[BatchCosts]] = defaultdict(list)
        for worker in self._group.workers:
            if worker.beat is not None:
                tables[worker.row.name].append(worker.beat.load.costs_ms)
        return {name: slowest(tables[name]) for name in self._way if any(tables[name])}

    def _show(self) -> None:
        self._viewed_s = self._clock()
        self._onlooker.show(self.view())

    def _take_beats(self) -> None:
        """Take in what has come; so many at most that the stages hear of the supervisor in time."""
        timeout_ms = TURN_MS
        for _ in range(MOST_BEATS):
            try:
                beat = self._control.beat(timeout_ms)
            except WireError as error:
                self._refused += 1
                self._log.warning("%s", error)
                continue
            if beat is None:
                return
            timeout_ms = 0
            self._note(beat)

    def _note(self, beat: Beat) -> None:
        if beat.session != self._folder.session or not self._group.note(beat):
            self._refused += 1
            return
        self._flow.note(beat)
        if self._commander.take(beat.report.requests):
            self._give_order()
        if beat.stage == "acquisition":
            last = max(beat.report.last_sequence, self._order.last_sequence)
            self._book.update(last_sequence=last)
        if beat.report.statistics is not None:
            self.statistics = beat.report.statistics
            settled = sum(self.statistics.verdicts.values())
            self._parts_per_second = self._rate.note(self._clock(), settled)

    def _mend(self, loss: Loss) -> None:
        worker = loss.worker
        self._log.error("%s: %s", worker.name, loss.cause)
        if loss.exit_code in NO_RESTART:
            self._fail(worker, _StageError(loss.cause, loss.exit_code))
        elif self._group.may_restart(worker):
            self._tell(loss, "started again")
        else:
            limits = self._config.supervision
            self._fail(
                worker,
                LineError(
                    f"{worker.name} failed more than {limits.restarts} times within "
                    f"{limits.window_s:g} s, last: {loss.cause}; see {self._config.log_folder}"
                ),
            )
            if worker.resting:
                self._tell(loss, "started again after a pause")

    def _tell(self, loss: Loss, sequel: str) -> None:
        self._news.append((self._clock(), f"{loss.worker.name}: {loss.cause}; {sequel}"))

    def _fail(self, worker: Worker, fault: LineError) -> None:
        """The line has a fault; who tells the PLC of it, and hears of its reset, comes back."""
        again = self._config.supervision.hold_fault
        hopeless = fault.exit_code in NO_RESTART
        worker.given_up = hopeless or not self._group.rest(worker, again=again)
        if self._fault is None:
            self._fault = fault
            self._commander.give_up("the line has a fault")
            self._move(Event.FAIL, _one_line(fault))

    def _move(self, event: Event, cause: str) -> None:
        """Change the state as the table says."""
        state = next_state(self._order.state, event)
        assert state is not None, f"{event.name} is not possible in {self._order.state}"
        if event is Event.RESET:
            self._fault = None
            self._group.forgive()
        self._change(state, cause)

    def _change(self, state: LineState, cause: str, *, stop: tuple[str, ...] = ()) -> None:
        news = self._book.change(state, cause, stop)
        self._give_order()
        if news:  # shown at once: a state may last for less than the time between two views
            self._show()

    def _request_stop(self) -> None:
        self._stop_requests += 1

    def _ending(self) -> bool:
        held = self._config.supervision.hold_fault and not self._group.deaf()
        over = self._order.state in CAPTURING and self._exhausted()
        return self._stop_requests > 0 or over or (self._fault is not None and not held)

    def _exhausted(self) -> bool:
        return any(
            worker.beat is not None and worker.beat.report.exhausted
            for worker in self._workers("acquisition")
        )

    def _settled(self) -> bool:
        """Whether acquisition has heard that it is over and decision has closed every part, as far
        as it ever will.
        """
        sources = [worker.beat for worker in self._workers("acquisition")]
        decisions = [worker for worker in self._workers("decision") if not worker.given_up]
        if any(beat is None or beat.capturing for beat in sources):
            return not any(sources) and not any(worker.resting for worker in decisions)
        last = self._order.last_sequence
        return all(
            worker.beat is not None and worker.beat.report.settled_sequence >= last
            for worker in decisions
        )

    def _idle(self) -> bool:
        """Whether nothing is in flight in a line whose processes all work."""
        return self._group.all_ready() and self._settled()

    def _workers(self, stage: str) -> list[Worker]:
        return [worker for worker in self._group.workers if worker.row.name == stage]

    def summary(self) -> RunSummary | None:
        """The totals of the session; None if decision never got as far as having any."""
        if self.statistics is None:
            return None
        loads = {
            worker.name: worker.beat.load
            for worker in reversed(self._group.workers)
            if worker.beat is not None and worker.beat.load.batches
        }
        return RunSummary(
            self._config.line,
            self._folder.session,
            self.statistics,
            loads,
            self._gpus.summaries(),
            self._refusals(),
            sum(w.beat.report.unrecorded for w in self._workers("recorder") if w.beat is not None),
            sum(w.beat.report.lost for w in self._workers("decision") if w.beat is not None),
        )

    def _refusals(self) -> dict[str, int]:
        """Messages that each process could not use, the supervisor's own among them."""
        counts = {
            worker.name: worker.beat.damaged + worker.beat.report.refused
            for worker in reversed(self._group.workers)
            if worker.beat is not None
        }
        return {**counts, "supervisor": self._refused}

    def view(self) -> LineView:
        """The line as it is now."""
        now_s = self._clock()
        news = [text for at_s, text in self._news if now_s - at_s < NEWS_S]
        warnings = [
            worker.beat.report.warning.strip()
            for worker in self._group.workers
            if worker.beat is not None and worker.beat.report.warning
        ]
        return LineView(
            line=self._config.line,
            name=self._config.name,
            state=self._order.state,
            cause=self._order.cause,
            session=self._folder.session,
            running_s=now_s - self._started_s,
            parts_per_second=self._parts_per_second,
            statistics=self.statistics,
            stages=tuple(
                stage_view(worker, self._flow, self.statistics)
                for worker in reversed(self._group.workers)
            ),
            gpus=self._gpus.readings(now_s),
            warnings=(*news, *warnings),
        )


class _StageError(LineError):
    """A stage's own last words, with the exit code that it chose for them."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class _StopSignals:
    """SIGINT and SIGTERM ask the line to stop while this is entered."""

    def __init__(self, request: Callable[[], None]) -> None:
        self._request = request

    def __enter__(self) -> None:
        def on_signal(_number: int, _frame: FrameType | None) -> None:
            self._request()

        self._before = [
            (number, signal.signal(number, on_signal)) for number in (signal.SIGINT, signal.SIGTERM)
        ]

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)


def _one_line(error: LineError) -> str:
    return str(error).splitlines()[0]
