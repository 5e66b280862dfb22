"""One loop for every stage: receive, batch, run, send, beat.

    python -m pipeline.stage_loop --line 3 --stage segmentation

starts one process of a line, as the supervisor does; by hand it joins a line that runs without it
(`run_line --line 3 --by-hand segmentation`), for instance under a debugger.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType

import msgspec

from pipeline.batching import Batcher, BatchRecord, Costs, Refused
from pipeline.chain import build_stage
from pipeline.command_line import line_parser, load_arguments_line, run_command
from pipeline.config import LineConfig
from pipeline.control import Beat, StageReport
from pipeline.errors import ConfigError, DeviceError, LineError
from pipeline.line import AS_THEY_COME, CHANNELS, Row, row_named, rows, stages_after
from pipeline.logs import log_path, open_log, part_extra
from pipeline.messages import MOST_TEXT, Failure, Message, Part, Reason, Stamp
from pipeline.order_watch import ORPHAN_AFTER_NS, OrderWatch
from pipeline.ports import DamagedMessageError, Ports
from pipeline.run_folder import SESSION_FILE, line_as_run
from pipeline.stage import (
    NO_VIEW,
    OverlappingStage,
    Stage,
    StageContext,
    TimedStage,
    stage_fault,
    stamps_of,
)
from pipeline.telemetry import resident_mb
from pipeline.threads import thread_environment

BEAT_PERIOD_NS = 250_000_000
BLOCKED_MS = 2
"""How often a loop that ends looks whether there is room."""
IN_FLIGHT_MS = 1
"""How often a device is asked for what it has finished."""
CRASHED = 70
_PR_SET_PDEATHSIG = 1


class StageLoop:
    """Runs one stage between its ports until it is told to stop."""

    def __init__(
        self,
        row: Row,
        stage: Stage,
        context: StageContext,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._row, self._stage, self._context, self._clock = row, stage, context, clock
        self._log = context.log
        self._margin_ns = context.config.timing.margin_ms * 1_000_000
        self._after = stages_after(row, rows(context.config))
        self._overlapping = stage if isinstance(stage, OverlappingStage) else None
        self._timed = stage if isinstance(stage, TimedStage) else None
        batch = row.batch(context.config) if row.batch else AS_THEY_COME
        costs = Costs()
        self._record = BatchRecord(costs, context.device_times)
        self._batcher = Batcher[Message](batch, costs, together=row.batch is not None)
        self._ports = Ports(row, context.worker, context.config, context.session, context.bell)
        alarm_s = context.config.supervision.silence_alarm_s
        self._orders = OrderWatch(context.session, alarm_s, clock())
        self._beat_at_ns = 0
        self._failed = self._damaged = 0
        self._ready = self._terminated = False

    def run(self) -> int:
        """Open the stage and work until the order to stop; the exit code of the process."""
        fault, code = "", 0
        try:
            self._stage.open()
            self._ready = True
            self._log.info("ready")
            while not self._over():
                self._turn()
            self._finish()
        except LineError as error:
            self._log.error("ended: %s", error)
            fault, code = str(error), error.exit_code
        except Exception as error:  # the outermost loop: logged with its traceback, then restarted
            self._log.exception("ended by a fault")
            fault, code = f"{type(error).__name__}: {error}", CRASHED
        finally:
            self._close(fault, code)
        return code

    def terminate(self) -> None:
        """End after the present turn, as on SIGTERM."""
        self._terminated = True
        self._context.bell.ring()

    def _over(self) -> bool:
        self._read_order()  # first: opening or a large batch may have taken longer than allowed
        orphan = self._orders.orphaned(self._clock())
        if orphan:
            self._log.error("no order for %d s: the supervisor is gone", ORPHAN_AFTER_NS // 10**9)
        return self._terminated or orphan or self._row.name in self._orders.newest.stop

    def _turn(self) -> None:
        self._ports.flush()
        if not self._ports.blocked:
            self._work()
        now_ns = self._clock()
        made = self._settle() + self._emit(
            self._stage.tick(now_ns, self._orders.shown(now_ns), self._ports.room())
        )
        self._ports.flush()
        self._beat_if_due()
        if not made:
            self._ports.wait(self._patience_ms())

    def _patience_ms(self) -> int:
        """How long the stage may sleep unless something wakes it."""
        now_ns = self._clock()
        due_ns = [self._beat_at_ns + BEAT_PERIOD_NS, now_ns + self._row.tick_ms * 1_000_000]
        if self._timed is not None:
            due_ns.append(self._timed.due_ns(now_ns))
        if self._overlapping is not None and self._record.busy:
            due_ns.append(now_ns + IN_FLIGHT_MS * 1_000_000)
        least_ms = -(-(min(due_ns) - now_ns) // 1_000_000)
        if not self._ports.blocked:  # a batch that is due within a millisecond leaves now
            least_ms = min(least_ms, (self._batcher.due_ns - now_ns) // 1_000_000)
        return max(0, least_ms)

    def _finish(self) -> None:
        """Take what has already arrived and hand over what is pending, within two seconds."""
        end_ns = self._clock() + 2_000_000_000
        while self._clock() < end_ns:
            done = self._work(closing=True) + self._settle(wait=True)
            self._ports.flush()
            if not done and not self._ports.blocked:
                break
            if not done:
                self._ports.wait(BLOCKED_MS)
        self._emit(self._stage.tick(self._clock(), self._orders.newest, False))
        self._ports.flush()

    def _close(self, fault: str, code: int) -> None:
        report = self._close_stage() if self._ready else StageReport()
        self._ready = False
        self._send_beat(report, fault, code)
        self._ports.close()
        self._log.info("closed")

    def _close_stage(self) -> StageReport:
        report = StageReport()
        try:
            report = self._stage.report()
            self._stage.close()
            report = self._stage.report()
        except Exception:  # closing must not hide why the stage ended
            self._log.exception("closing failed")
        return report

    def _read_order(self) -> None:
        control = self._ports.control
        known, order = control.damaged, control.order()
        if control.damaged > known:
            self._log.warning("%d orders cannot be read", control.damaged - known)
        self._orders.note(order, self._clock())

    def _work(self, *, closing: bool = False) -> int:
        """Take in what is there and do what is due of it; how many parts that were."""
        while self._batcher.room(self._clock()) and (message := self._receive()) is not None:
            self._batcher.add(message, self._limit_ns(message), self._clock())
        later = [self._orders.newest.costs_ms.get(name, ()) for name in self._after]
        step = self._batcher.step(self._clock(), later, closing=closing)
        for part in step.refused:
            self._refuse(part)
        if step.batch:
            self._compute(step.batch)
        return len(step.batch) + len(step.refused)

    def _limit_ns(self, message: Message) -> int | None:
        """When decision gives the part up; None for what this stage cannot answer by itself."""
        deadline_ns: int | None = getattr(message, "deadline_monotonic_ns", None)
        if deadline_ns is None or not self._ports.offers("failure"):
            return None
        return deadline_ns - self._margin_ns

    def _receive(self) -> Message | None:
        try:
            return self._ports.receive()
        except DamagedMessageError as error:
            self._damaged += 1
            extra = part_extra(error.part) if error.part else None
            self._log.warning("damaged message on %s: %s", error.channel, error, extra=extra)
            if error.part is None or CHANNELS[error.channel].lossy:
                return None
            failure = self._failure(error.part, Reason.MESSAGE_DAMAGED, str(error))
            if "failure" in self._row.consumes:
                return failure
            self._emit([failure])
            return None

    def _refuse(self, refused: Refused[Message]) -> None:
        """A part that cannot make its deadline is answered at once, not computed."""
        self._record.refuse()
        message, text = refused.item, refused.text(self._row.name)
        self._emit([self._failure(message.part, Reason.DEADLINE, text, stamps_of(message))])

    def _compute(self, messages: Sequence[Message]) -> None:
        """Give a batch to the stage."""
        began_ns = self._clock()
        sequences = [message.part.sequence for message in messages]
        self._record.begin(sequences, began_ns)
        for message in messages:
            stamps = stamps_of(message)
            if stamps:
                self._record.waited(began_ns - stamps[-1].sent_monotonic_ns)
        try:
            self._emit(list(self._stage.take(messages)))
        except DeviceError:  # trying the parts one by one would meet the same device
            raise
        except Exception as error:  # the outermost loop: the fault costs its parts, not the line
            self._log.exception("failed on %d parts", len(messages))
            self._record.spoil(sequences)
            self._separate(messages, error)
        if not self._after:  # nothing comes out: the parts end here, and so does the batch
            for sequence in sequences:
                self._record.end(sequence, self._clock())

    def _separate(self, messages: Sequence[Message], error: Exception) -> None:
        """After a failed batch: each part alone, so that only the guilty one pays."""
        if len(messages) == 1:
            failure = stage_fault(self._row.name, messages[0], error)
            self._log.error("%s", failure.text, extra=part_extra(failure.part))
            self._emit([failure])
            return
        for message in messages:
            try:
                self._emit(list(self._stage.take([message])))
            except DeviceError:  # as in _compute
                raise
            except Exception as single:  # as in _compute
                self._separate([message], single)

    def _settle(self, *, wait: bool = False) -> int:
        """Send on what a device has finished; a device that fails ends the process."""
        if self._overlapping is None:
            return 0
        return self._emit(self._overlapping.settle(wait))

    def _failure(
        self, part: Part, reason: Reason, text: str, stamps: tuple[Stamp, ...] | None = ()
    ) -> Failure:
        return Failure(part, reason, text[:MOST_TEXT], self._row.name, NO_VIEW, stamps or ())

    def _emit(self, messages: Iterable[Message]) -> int:
        count = 0
        for message in messages:
            count += 1
            if isinstance(message, Failure):
                self._failed += 1
                self._log.info(
                    "%s: %s", message.reason, message.text, extra=part_extra(message.part)
                )
            now_ns = self._clock()
            if self._ports.offers(message.channel):
                self._ports.put(self._stamp(message, now_ns))
            else:
                assert isinstance(message, Failure), f"no way for {message.channel}"
            self._record.end(message.part.sequence, now_ns)
        return count

    def _stamp(self, message: Message, now_ns: int) -> Message:
        stamps = stamps_of(message)
        if stamps is None:
            return message
        began_ns = self._record.began_ns(message.part.sequence)
        stamp = Stamp(self._row.name, now_ns if began_ns is None else began_ns, now_ns)
        return msgspec.structs.replace(message, stamps=(*stamps, stamp))

    def _beat_if_due(self) -> None:
        now_ns = self._clock()
        if now_ns - self._beat_at_ns >= BEAT_PERIOD_NS:
            self._beat_at_ns = now_ns
            self._send_beat(self._stage.report())

    def _send_beat(self, report: StageReport, fault: str = "", exit_code: int = 0) -> None:
        self._ports.control.beat(
            Beat(
                stage=self._row.name,
                worker=self._context.worker,
                pid=os.getpid(),
                session=self._context.session,
                ready=self._ready and not fault,
                capturing=self._orders.newest.capture,
                received=dict(self._ports.received),
                sent=dict(self._ports.sent),
                failed=self._failed,
                damaged=self._damaged + self._ports.control.damaged,
                dropped=self._ports.dropped,
                resident_mb=round(resident_mb(), 1),
                report=report,
                fault=fault,
                exit_code=exit_code,
                load=self._record.load(),
            )
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command that runs one process of a line."""
    parser = line_parser(
        "stage_loop",
        "Run one process of a line. The supervisor does this for every row of the table; by hand "
        "it joins a running line that was started with run_line --by-hand STAGE.",
    )
    parser.add_argument("--stage", required=True, help="name of the stage in the table")
    parser.add_argument("--worker", type=int, default=0, help="number of this worker, from 0")
    parser.add_argument("--supervisor", type=int, metavar="PID", help="end with this process")
    parser.add_argument("--verbose", action="store_true", help="log to the terminal as well")
    options = parser.parse_args(arguments)
    return run_command(lambda: _run_stage(options))


def _run_stage(options: argparse.Namespace) -> int:
    if options.supervisor is not None:
        _end_with_parent(options.supervisor)
    config = line_as_run(load_arguments_line(options))
    try:
        row = row_named(options.stage, rows(config))
    except KeyError as error:
        raise ConfigError(f"--stage: {error.args[0]}") from error
    session = _session(config)
    os.environ.update(thread_environment(row.workers(config).threads))
    process = f"{row.name}.{options.worker}" if options.worker else row.name
    log = open_log(config, process, options.verbose)
    try:
        context = StageContext(config, session, options.worker, log)
        loop = StageLoop(row, build_stage(row, context), context)
    except Exception:  # logged with its traceback, and raised again
        log.exception("could not start")
        print(f"{process} could not start; see {log_path(config, process)}", file=sys.stderr)
        raise
    _end_on_signal(loop, log)
    return loop.run()


def _session(config: LineConfig) -> str:
    return (config.run_dir / SESSION_FILE).read_text(encoding="ascii").strip()


def _end_with_parent(supervisor_pid: int) -> None:
    """Ask the kernel to kill this process when the supervisor dies, however it dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor_pid:
        raise LineError("the supervisor ended while this process was starting")


def _end_on_signal(loop: StageLoop, log: logging.Logger) -> None:
    def on_signal(number: int, _frame: FrameType | None) -> None:
        log.info("%s: ending", signal.Signals(number).name)
        loop.terminate()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


def stage_command(
    config_file: Path, row: Row, worker: int, supervisor_pid: int, verbose: bool
) -> list[str]:
    """The command with which the supervisor starts one process."""
    command = [sys.executable, "-m", "pipeline.stage_loop", "--config", str(config_file)]
    command += ["--stage", row.name, "--worker", str(worker), "--supervisor", str(supervisor_pid)]
    return [*command, "--verbose"] if verbose else command


if __name__ == "__main__":
    sys.exit(main())
