"""Decision's process, called directly: journal first, then the PLC, then pictures."""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from calibration.record import save_and_activate
from full_disk import full_disk
from pipeline.config import LineConfig
from pipeline.control import LineOrder, LineState, TruthCount
from pipeline.errors import BundleError, CalibrationError, LineError
from pipeline.journal import segments
from pipeline.messages import Evidence, LedgerLine, Reason, Truth, Verdict, VerdictRecord
from pipeline.stage import StageContext
from stages.decision.ledger import Now
from stages.decision.stage import DecisionStage, build, check_plc, load_rule

MS = 1_000_000
PICTURE = np.full((6, 8, 1), 9, np.uint8)


@dataclass
class Desk:
    """A decision stage of a line whose broker is away, with a clock that the test sets."""

    config: LineConfig
    shop: Any
    at_ms: float = 0.0
    stages: list[DecisionStage] = field(default_factory=list)

    def stage(self, session: str | None = None) -> DecisionStage:
        context = StageContext(
            self.config, session or self.shop.session, 0, logging.getLogger("decision")
        )
        stage = DecisionStage(context, clock=self.now)
        stage.open()
        self.stages.append(stage)
        return stage

    def now(self) -> Now:
        return self.shop.now(self.at_ms)

    def order(self, **changes: Any) -> LineOrder:
        return LineOrder(self.shop.session, LineState.RUNNING, "ready", 1, **changes)

    def lines(self, session: str | None = None) -> list[LedgerLine]:
        decoder = msgspec.json.Decoder(LedgerLine)
        folder = self.config.ledger_folder
        files = [folder / part.file_name for part in segments(folder, session or self.shop.session)]
        return [decoder.decode(line) for file in files for line in file.read_bytes().splitlines()]

    def verdicts(self, session: str | None = None) -> list[VerdictRecord]:
        return [line for line in self.lines(session) if isinstance(line, VerdictRecord)]


@pytest.fixture
def dead_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def make_config(small_line: Callable[..., LineConfig], dead_port: int) -> Callable[..., LineConfig]:
    broker = {"kind": "external", "host": "127.0.0.1", "port": dead_port}
    return lambda **changes: small_line(**{"mqtt.broker": broker, **changes})


@pytest.fixture
def desk(make_config: Callable[..., LineConfig], shop: Any) -> Iterator[Desk]:
    desk = Desk(make_config(), shop)
    yield desk
    for stage in desk.stages:
        stage.close()


def test_each_message_goes_its_way(desk: Desk, shop: Any) -> None:
    stage = desk.stage()
    assert list(stage.take([shop.announcement(n) for n in (1, 2, 3)])) == []
    desk.at_ms = 100
    outcomes = [shop.result(1, 0.75), shop.failure(2, view=PICTURE), shop.result(3, math.nan)]
    pictures = list(stage.take(outcomes))
    records = desk.verdicts()
    assert [(record.verdict, record.reason) for record in records] == [
        (Verdict.REJECT, Reason.ABOVE_THRESHOLD),
        (Verdict.UNINSPECTED, Reason.FRAME_BLACK),
        (Verdict.UNINSPECTED, Reason.SCORE_NOT_FINITE),
    ]
    assert all(isinstance(picture, Evidence) for picture in pictures)
    assert [picture.part for picture in pictures] == [record.part for record in records]
    assert all(record.has_images for record in records)
    assert records[0].calibration_id == shop.calibration().id


def test_evidence_shows_what_there_is(desk: Desk, shop: Any) -> None:
    stage = desk.stage()
    stage.take([shop.announcement(n) for n in (1, 2, 3)])
    result = shop.result(1, 0.75)
    shown, dark = list(stage.take([result, shop.failure(2, view=PICTURE), shop.failure(3)]))
    assert isinstance(shown, Evidence)
    assert isinstance(dark, Evidence)
    assert (shown.verdict, shown.defects) == (Verdict.REJECT, result.defects)
    assert shown.view is result.view
    assert shown.anomaly_map is result.anomaly_map
    assert dark.view is PICTURE
    assert dark.reconstruction.size == dark.anomaly_map.size == 0
    third = desk.verdicts()[2]
    assert (third.part.sequence, third.has_images) == (3, False), "there was nothing to show"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.25, 0.3, 1.0])
def test_pictures_of_passes_are_spread_evenly(
    make_config: Callable[..., LineConfig], shop: Any, share: float
) -> None:
    desk = Desk(make_config(**{"reject_log.pass_image_share": share}), shop)
    stage = desk.stage()
    kept: list[int] = []
    for sequence in range(1, 401):
        stage.take([shop.announcement(sequence)])
        kept += [item.part.sequence for item in stage.take([shop.result(sequence, 0.1)])]
    stage.close()
    assert len(kept) == pytest.approx(400 * share, abs=1)
    for sequence in range(1, 401):
        before = sum(number <= sequence for number in kept)
        assert before == pytest.approx(sequence * share, abs=1)
    marked = [record.part.sequence for record in desk.verdicts() if record.has_images]
    assert marked == kept


def test_time_closes_what_is_due(desk: Desk, shop: Any) -> None:
    stage = desk.stage()
    stage.take([shop.announcement(1)])
    desk.at_ms = 479
    stage.tick(0, desk.order(), True)
    assert desk.verdicts() == []
    desk.at_ms = 481
    stage.tick(0, desk.order(), True)
    assert [record.reason for record in desk.verdicts()] == [Reason.DEADLINE]
    assert not desk.verdicts()[0].late


def test_numbers_that_nobody_announces_are_closed_after_a_second(desk: Desk, shop: Any) -> None:
    stage = desk.stage()
    stage.take([shop.announcement(1)])
    order = desk.order(last_sequence=3)
    for at_ms, count in ((0, 0), (999, 1), (1001, 3)):  # part 1 expires meanwhile
        desk.at_ms = at_ms
        stage.tick(0, order, True)
        assert len(desk.verdicts()) == count
    assert [record.reason for record in desk.verdicts()][1:] == [Reason.NOT_ANNOUNCED] * 2
    assert stage.report().settled_sequence == 3


def test_announcements_that_are_only_late_are_waited_for(desk: Desk, shop: Any) -> None:
    stage = desk.stage()
    stage.tick(0, desk.order(last_sequence=1), True)
    desk.at_ms = 900
    stage.take([shop.announcement(1, 890)])
    stage.tick(0, desk.order(last_sequence=1), True)
    desk.at_ms = 1100
    stage.tick(0, desk.order(last_sequence=2), True)
    assert desk.verdicts() == []


def test_the_report_says_how_far_it_is_and_that_the_broker_is_away(
    desk: Desk, shop: Any, dead_port: int
) -> None:
    stage = desk.stage()
    stage.take([shop.announcement(n) for n in (1, 2, 3)])
    desk.at_ms = 2000
    stage.take([shop.failure(1), shop.result(3, 0.9)])
    report = stage.report()
    assert (report.last_sequence, report.settled_sequence) == (3, 1)
    desk.at_ms = 3001
    stage.take([shop.failure(2)])
    report = stage.report()
    assert report.settled_sequence == 3
    assert report.statistics is not None
    assert report.statistics.announced == 3
    assert sum(report.statistics.verdicts.values()) == 3


def test_a_new_process_of_a_session_goes_on(desk: Desk, shop: Any) -> None:
    killed = desk.stage()
    desk.stages.clear()  # it is killed, not closed
    killed.take([shop.announcement(n) for n in (1, 2, 3)])
    killed.take([shop.result(2, 0.1)])
    stage = desk.stage()
    assert stage.report().last_sequence == 3
    assert list(stage.take([shop.result(2, 0.9), shop.result(1, 0.9)]))
    desk.at_ms = 600
    stage.tick(0, desk.order(), True)
    given = {record.part.sequence: record.reason for record in desk.verdicts()}
    assert given == {
        1: Reason.ABOVE_THRESHOLD,
        2: Reason.BELOW_THRESHOLD,
        3: Reason.DEADLINE,
    }
    assert len(desk.verdicts()) == 3
    totals = stage.report().statistics
    assert totals is not None
    killed._plc.close(desk.order())


def test_a_new_session_closes_the_parts_of_the_old_one(desk: Desk, shop: Any) -> None:
    killed = desk.stage()
    desk.stages.clear()
    killed.take([shop.announcement(n) for n in (1, 2)])
    desk.at_ms = 5000
    stage = desk.stage("20261123-000000-bbbb")
    (first, second) = desk.verdicts(shop.session)
    assert {first.reason, second.reason} == {Reason.LINE_STOPPED}
    assert first.late
    assert stage.report().last_sequence == 0
    killed._plc.close(desk.order())


def test_closing_gives_every_open_part_its_verdict(desk: Desk, shop: Any) -> None:
    stage = desk.stage()
    desk.stages.clear()
    stage.take([shop.announcement(n) for n in (1, 2)])
    stage.close()
    assert [record.reason for record in desk.verdicts()] == [Reason.LINE_STOPPED] * 2
    report = stage.report()
    assert report.settled_sequence == 2
    assert report.statistics is not None
    assert report.statistics.reasons == {Reason.LINE_STOPPED: 2}


def ledger_size(desk: Desk) -> int:
    (segment,) = segments(desk.config.ledger_folder)
    return (desk.config.ledger_folder / segment.file_name).stat().st_size


def test_a_verdict_that_cannot_be_recorded_is_no_pass(desk: Desk, shop: Any) -> None:
    stage = desk.stage()
    stage.take([shop.announcement(n) for n in range(1, 6)])
    told: list[VerdictRecord] = []
    stage._plc.publish_verdict = told.append
    outcomes = [shop.result(1, 0.1), shop.result(2, 0.9), shop.failure(3, view=PICTURE)]
    desk.at_ms = 100
    with full_disk(ledger_size(desk)):
        pictures = list(stage.take(outcomes))
        stage.take([shop.result(4, 0.1)])
        report = stage.report()
    withheld = [(n, Verdict.UNINSPECTED, Reason.NOT_RECORDED) for n in (1, 2, 4)]
    black = (3, Verdict.UNINSPECTED, Reason.FRAME_BLACK)
    given = [*withheld[:2], black, withheld[2]]
    assert [(r.part.sequence, r.verdict, r.reason) for r in told] == given
    assert [r.score for r in told] == [0.1, 0.9, None, 0.1]
    assert [p.verdict for p in pictures] == [Verdict.UNINSPECTED] * 2
    assert "cannot be written (File too large): parts are UNINSPECTED" in report.alarm
    assert report.warning.startswith("4 lines of the ledger wait for its disk")
    assert report.statistics is not None
    assert report.statistics.verdicts[Verdict.UNINSPECTED] == 4
    assert desk.verdicts() == []
    desk.at_ms = 400
    stage.tick(0, desk.order(), True)
    stage.take([shop.result(5, 0.1)])
    assert stage.report().alarm == ""
    assert [(r.part.sequence, r.verdict, r.reason) for r in desk.verdicts()] == [
        *given,
        (5, Verdict.PASS, Reason.BELOW_THRESHOLD),
    ]
    assert desk.verdicts() == told


def test_the_mistakes_of_a_verdict_that_is_withheld_are_none(desk: Desk, shop: Any) -> None:
    stage = desk.stage()
    for sequence, defective in ((1, True), (2, False)):
        stage.take([shop.announcement(sequence, truth=Truth(defective))])
    with full_disk(ledger_size(desk)):
        stage.take([shop.result(1, 0.1), shop.result(2, 0.9)])
    totals = stage.report().statistics
    assert totals is not None
    assert totals.truth == TruthCount(escapes=0, overkill=0, defective=1, good=1)
    assert totals.reasons == {Reason.NOT_RECORDED: 2}


def test_a_process_that_starts_on_a_full_disk_works_without_a_pass(desk: Desk, shop: Any) -> None:
    with full_disk(1):
        stage = desk.stage()
        stage.take([shop.announcement(1)])
        stage.take([shop.result(1, 0.1)])
        assert "cannot be written" in stage.report().alarm
    desk.at_ms = 400
    stage.tick(0, desk.order(), True)
    assert [record.reason for record in desk.verdicts()] == [Reason.NOT_RECORDED]


def test_nothing_is_decided_without_bundle_or_calibration(
    make_config: Callable[..., LineConfig], shop: Any, tmp_path: Path
) -> None:
    without_bundle = make_config(**{"model.bundle": str(tmp_path / "none")})
    with pytest.raises(BundleError, match="train_line --line 3"):
        Desk(without_bundle, shop).stage()
    without = make_config(**{"calibration.folder": str(tmp_path / "none")})
    with pytest.raises(CalibrationError, match="calibrate_line --line 3"):
        Desk(without, shop).stage()
    with pytest.raises(CalibrationError):
        load_rule(without)
    load_rule(make_config())
    save_and_activate(tmp_path / "calibration", shop.calibration(bundle_id="another"))
    with pytest.raises(CalibrationError, match="belongs to model bundle another"):
        Desk(make_config(), shop).stage()


def test_nothing_is_decided_with_the_calibration_of_another_paradigm(
    make_config: Callable[..., LineConfig], shop: Any, tmp_path: Path
) -> None:
    own = "id: bundle\nparadigm: one_step\n"
    (tmp_path / "bundle" / "bundle.yaml").write_text(own, encoding="utf-8")
    load_rule(make_config(**{"reconstruction.paradigm": "one_step"}))
    changed = make_config(**{"reconstruction.paradigm": "ddim"})
    with pytest.raises(CalibrationError, match=r"--set reconstruction\.paradigm=ddim") as caught:
        load_rule(changed)
    assert caught.value.exit_code == 3
    save_and_activate(tmp_path / "calibration", shop.calibration(paradigm="ddim"))
    load_rule(changed)
    with pytest.raises(CalibrationError, match="the line runs the model bundle's own"):
        load_rule(make_config())


def test_a_broker_that_is_away_is_found_before_the_start(
    make_config: Callable[..., LineConfig], dead_port: int
) -> None:
    with pytest.raises(LineError, match=str(dead_port)):
        check_plc(make_config())


def test_the_loop_builds_it_from_its_context(desk: Desk, shop: Any) -> None:
    context = StageContext(desk.config, shop.session, 0, logging.getLogger("decision"))
    assert isinstance(build(context), DecisionStage)
