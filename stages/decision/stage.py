"""Decision as a process: the ledger, its journal, the PLC, and the pictures for the log."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np

from calibration.record import load_line_calibration
from pipeline.config import LineConfig
from pipeline.control import LineOrder, LineState, LineStatistics, StageReport
from pipeline.data_folder import check_data_folder, running_line
from pipeline.errors import ConfigError, LineError, NotReadyError
from pipeline.logs import part_extra
from pipeline.messages import (
    AnnouncedNote,
    Announcement,
    Evidence,
    Failure,
    InspectionResult,
    LedgerLine,
    Message,
    Verdict,
    VerdictRecord,
)
from pipeline.next_command import train_command
from pipeline.stage import NEVER_NS, Stage, StageContext
from plc.check import check_broker
from plc.client import PlcClient
from plc.payloads import Identity
from stages.bundle_identity import stated_identity
from stages.decision.belt import Belt
from stages.decision.inspection_watch import InspectionWatch
from stages.decision.ledger import Ledger, Now, Outcome, Place
from stages.decision.ledger_journal import LedgerJournal, close_old_sessions, stored_lines
from stages.decision.rule import DecisionRule

MISSING_AFTER_NS = 1_000_000_000
CHECK_TIMEOUT_S = 5.0
UNUSABLE = "unusable"
"""Bundle and calibration of a recipe that cannot be loaded: no score is of this model."""
STATISTICS_EVERY_NS = 1_000_000_000
_EMPTY_MAP = np.zeros((0, 0), np.float16)
_EMPTY_PICTURE = np.zeros((0, 0, 1), np.uint8)


def _now() -> Now:
    return Now(time.monotonic_ns(), time.time_ns())


class DecisionStage:
    """Records each verdict, then tells the PLC, then offers pictures; waits for none of them."""

    def __init__(self, context: StageContext, clock: Callable[[], Now] = _now) -> None:
        self._context, self._clock = context, clock
        self._config, self._log = context.config, context.log
        self._pass_share = context.config.reject_log.pass_image_share
        self._order = LineOrder(context.session, LineState.PREOPERATIONAL, "starting", 0)
        self._belt = Belt.of(context.config.timing)
        self._inspection = InspectionWatch.of(context.config.timing)
        self._recipe_fault = ""
        self._behind_since_ns: int | None = None
        self._statistics: tuple[int, LineStatistics] | None = None

    def open(self) -> None:
        """Load the calibration, go on with a ledger that was left, and begin to connect.

        Raises CalibrationError, BundleError and ConfigError.
        """
        config, session = self._config, self._context.session
        self._rule = load_rule(config)
        self._plc = PlcClient(
            config.mqtt,
            config.line,
            session,
            self._log,
            config.data_folder,
            self._context.bell.ring,
        )
        now = self._clock()
        close_old_sessions(config.ledger_folder, session, self._new_ledger, now, self._log)
        self._ledger = self._new_ledger(session)
        self._restored = self._unconfirmed_verdicts()
        self._journal = LedgerJournal(config.ledger_folder, session, self._ledger, self._log)
        self._plc.start()

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        """Announcements, results and failures in; pictures out."""
        now = self._clock()
        lines: list[LedgerLine] = []
        shown: list[Outcome] = []
        for message in messages:
            if isinstance(message, Announcement):
                note, records = self._announce(message, now)
                lines += [note, *records] if note else records
            else:
                assert isinstance(message, InspectionResult | Failure)
                records = self._settle(message, now)
                lines += records
                shown += [message for record in records if record.has_images]
        told = {record.part: record for record in self._publish(lines)}
        return [_evidence(told[outcome.part], outcome) for outcome in shown]

    def tick(self, now_monotonic_ns: int, order: LineOrder, room: bool) -> Iterable[Message]:
        """Close what is due, and pass the line's state on to the PLC."""
        if order != self._order:
            self._follow(order)
        now = self._clock()
        self._inspection.follow(order, now.monotonic_ns)
        self._journal.mend(now.monotonic_ns)
        records = self._ledger.expire(now)
        if self._numbers_are_missing(now.monotonic_ns):
            records += self._ledger.missing_until(order.last_sequence, now)
        self._publish(records)
        self._publish_restored()
        self._plc.tick(
            max(order.last_sequence, self._ledger.announced_until), self._ledger.settled_until
        )
        self._mark_published()
        return ()

    def due_ns(self, now_monotonic_ns: int) -> int:
        """The next deadline, or what the PLC is to hear; all else has until the next tick."""
        plc_s = self._plc.due_s
        return min(self._ledger.due_ns, NEVER_NS if math.isinf(plc_s) else int(1e9 * plc_s))

    def report(self) -> StageReport:
        """How far the ledger is, the totals, and whether the broker is there."""
        warnings = (self._ledger_warning(), self._plc.warning)
        inspection = self._inspection.alarm(self._clock().monotonic_ns)
        alarms = (self._recipe_fault, self._journal.fault, self._plc.alarm, inspection)
        return StageReport(
            last_sequence=self._ledger.announced_until,
            settled_sequence=self._ledger.settled_until,
            warning=". ".join(filter(None, warnings)),
            statistics=self._current_statistics(),
            alarm="; ".join(filter(None, alarms)),
            requests=self._plc.requests,
            lost=self._journal.lost_verdicts,
            refused=self._plc.refused,
        )

    def close(self) -> None:
        """Close what is open and say good-bye to the PLC."""
        self._publish(self._ledger.close_all(self._clock()))
        self._statistics = None
        self._plc.close(self._order)
        self._mark_published()
        self._journal.close()

    def _unconfirmed_verdicts(self) -> list[VerdictRecord]:
        """Take over what an earlier process wrote: its verdicts that the PLC may not have, and can
        still use. Those that are too late are named to the PLC.
        """
        folder, session = self._config.ledger_folder, self._context.session
        given = {
            record.part.sequence: record
            for record in self._ledger.replay(stored_lines(folder, session, self._log))
        }
        useful: list[VerdictRecord] = []
        for first, last in self._ledger.unpublished.ranges:
            for sequence in range(first, last + 1):
                record = given.get(sequence)
                if record is not None and self._still_useful(record):
                    useful.append(record)
                else:
                    self._plc.note_unpublished(sequence)
        return useful

    def _still_useful(self, record: VerdictRecord) -> bool:
        deadline_ns = record.deadline_monotonic_ns
        return deadline_ns is not None and deadline_ns > self._clock().monotonic_ns

    def _publish_restored(self) -> None:
        """The same verdicts again, once the broker is there: the first time may be lost."""
        if not self._restored or not self._plc.connected:
            return
        for record in self._restored:
            if self._still_useful(record):
                self._plc.publish_verdict(record)
            else:
                self._plc.note_unpublished(record.part.sequence)
        self._restored = []

    def _follow(self, order: LineOrder) -> None:
        """Every change of the line's state goes to the PLC, also one that is past already."""
        before, self._order = self._order, order
        if (order.recipe, order.loads) != (self._rule.recipe, before.loads):
            self._change_recipe(order.recipe)
        rule = self._rule
        identity = Identity(rule.recipe, rule.bundle_id, rule.calibration_id)
        for past in missed_orders(before, order):
            self._plc.set_status(past, identity)
        self._plc.set_status(order, identity)
        self._plc.answer(order.answers)

    def _change_recipe(self, name: str) -> None:
        """The supervisor has checked the recipe; one that broke since then judges no part."""
        try:
            self._rule = load_rule(self._config.with_recipe(name))
            self._recipe_fault = ""
        except (ConfigError, NotReadyError) as error:
            self._rule = DecisionRule(self._rule.threshold, UNUSABLE, UNUSABLE, name)
            self._recipe_fault = f"recipe {name} cannot be used: {error}"
            self._log.error("%s", self._recipe_fault)
        self._ledger.follow(self._rule)

    def _announce(
        self, announcement: Announcement, now: Now
    ) -> tuple[AnnouncedNote | None, list[VerdictRecord]]:
        """Open a part with its place on the belt, which may bring its deadline forward."""
        encoder, captured_ns = self._order.encoder, announcement.captured_monotonic_ns
        position = self._belt.position(encoder, captured_ns)
        latest_ns = announcement.deadline_monotonic_ns
        deadline_ns = self._belt.deadline_ns(encoder, captured_ns, latest_ns)
        place = Place(self._order.batch, position, self._belt.reject_position(position))
        moved = msgspec.structs.replace(announcement, deadline_monotonic_ns=deadline_ns)
        return self._ledger.announce(moved, now, place)

    def _mark_published(self) -> None:
        note = self._plc.take_published()
        if note is not None:
            self._ledger.published(note)
            self._record([note])

    def _new_ledger(self, session: str) -> Ledger:
        config = self._config
        margin_ns = config.timing.margin_ms * 1_000_000
        return Ledger(config.line, session, self._rule, margin_ns, config.camera.simulated)

    def _settle(self, outcome: Outcome, now: Now) -> list[VerdictRecord]:
        return [
            msgspec.structs.replace(record, has_images=True)
            if outcome.view.size and self._wants_pictures(record)
            else record
            for record in self._ledger.settle(outcome, now)
        ]

    def _wants_pictures(self, record: VerdictRecord) -> bool:
        """All rejects and uninspected parts, and evenly spread passes up to the wanted share."""
        if record.verdict is not Verdict.PASS:
            return True
        sequence, share = record.part.sequence, self._pass_share
        return int(sequence * share) > int((sequence - 1) * share)

    def _publish(self, lines: Sequence[LedgerLine]) -> list[VerdictRecord]:
        """Record lines, and tell the PLC the verdicts among them, which are given back."""
        records = [line for line in self._record(lines) if isinstance(line, VerdictRecord)]
        now_ns = self._clock().monotonic_ns
        for record in records:
            self._plc.publish_verdict(record)
            self._log_verdict(record)
            self._inspection.note(record, now_ns)
        return records

    def _record(self, lines: Sequence[LedgerLine]) -> list[LedgerLine]:
        """The lines as they are recorded, or will be when the disk takes them: what cannot be
        recorded before it is published is not published as PASS or REJECT.
        """
        written = self._journal.write(lines)
        rest = [
            self._ledger.withhold(line) if isinstance(line, VerdictRecord) else line
            for line in lines[written:]
        ]
        self._journal.keep(rest)
        return [*lines[:written], *rest]

    def _ledger_warning(self) -> str:
        waiting, lost = self._journal.waiting, self._journal.lost
        if not waiting:
            return f"{lost} lines of the ledger could not be written and are lost" if lost else ""
        missing = f", {lost} are lost" if lost else ""
        return f"{waiting} lines of the ledger wait for its disk{missing}"

    def _log_verdict(self, record: VerdictRecord) -> None:
        level = logging.DEBUG if record.verdict is Verdict.PASS else logging.INFO
        extra = part_extra(record.part)
        self._log.log(level, "%s: %s", record.verdict, record.text, extra=extra)

    def _numbers_are_missing(self, now_ns: int) -> bool:
        """Whether numbers were given out a while ago that nobody announced."""
        if self._order.last_sequence <= self._ledger.announced_until:
            self._behind_since_ns = None
            return False
        if self._behind_since_ns is None:
            self._behind_since_ns = now_ns
        return now_ns - self._behind_since_ns > MISSING_AFTER_NS

    def _current_statistics(self) -> LineStatistics:
        now_ns = self._clock().monotonic_ns
        if self._statistics is None or now_ns - self._statistics[0] > STATISTICS_EVERY_NS:
            self._statistics = (now_ns, self._ledger.statistics())
        return self._statistics[1]


def missed_orders(before: LineOrder, order: LineOrder) -> list[LineOrder]:
    """The states between two orders that a reader of the newest one alone would miss."""
    if not before.since_wall_ns:  # the first order: what was before it concerns nobody
        return []
    known = before.transitions[-1].number if before.transitions else 0
    return [
        msgspec.structs.replace(
            order, state=past.state, cause=past.cause, since_wall_ns=past.since_wall_ns
        )
        for past in order.transitions[:-1]
        if past.number > known
    ]


def _evidence(record: VerdictRecord, outcome: Outcome) -> Evidence:
    reconstruction, anomaly_map = _EMPTY_PICTURE, _EMPTY_MAP
    if isinstance(outcome, InspectionResult):
        reconstruction, anomaly_map = outcome.reconstruction, outcome.anomaly_map
    return Evidence(
        part=record.part,
        verdict=record.verdict,
        defects=record.defects,
        view=outcome.view,
        reconstruction=reconstruction,
        anomaly_map=anomaly_map,
    )


def load_rule(config: LineConfig) -> DecisionRule:
    """The active calibration of a line. Raises BundleError and CalibrationError.

    Whether it holds for the precision of the scores is checked where these are computed, in
    segmentation, without which no score arrives.
    """
    bundle_id, bundles_own = stated_identity(config.model.bundle, train_command(config))
    calibration = load_line_calibration(config, bundle_id, bundles_own)
    return DecisionRule(calibration.threshold, bundle_id, calibration.id, config.recipe)


def check_plc(config: LineConfig) -> None:
    """Whether the broker takes this line's connection. Raises LineError. A line that runs has its
    own broker's port already.
    """
    if config.mqtt.broker.kind == "embedded" and running_line(config):
        return
    fault = check_broker(config.mqtt, CHECK_TIMEOUT_S)
    if fault is not None:
        raise LineError(fault)


CHECKS = (("data folder", check_data_folder), ("MQTT broker", check_plc))


def build(context: StageContext) -> Stage:
    """The stage for the loop."""
    return DecisionStage(context)
