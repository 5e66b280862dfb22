"""The stages before decision, played: parts are announced and scored at a given rate.

    python -m benchmarks.verdict_player --config RUN_FOLDER/line.yaml --rate 1000 --parts 10000

One process takes the place of every stage from acquisition to segmentation of a line that was
started with `run_line --by-hand STAGE` for each of them. It binds their sockets, sends their beats,
announces each part as acquisition does and gives its score, its defects and its pictures as
segmentation does. A few parts of the line's simulated product are drawn beforehand and shown in
turn.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import cv2
import numpy as np

from calibration.record import load_line_calibration
from pipeline.bell import Bell
from pipeline.command_line import above_zero, plain_parser, run_command, share, whole_number
from pipeline.config import LineConfig, SimulatedCamera
from pipeline.config_file import load_line
from pipeline.control import Beat, LineOrder, StageReport
from pipeline.errors import ConfigError, LineError
from pipeline.line import Row, rows
from pipeline.messages import Announcement, InspectionResult, Message, Part, Stamp, Truth
from pipeline.next_command import train_command
from pipeline.ports import Ports
from pipeline.run_folder import SESSION_FILE
from pipeline.telemetry import resident_mb
from stages.acquisition.sequence import SequenceCounter
from stages.acquisition.simulation import PartRenderer
from stages.bundle_identity import stated_identity
from stages.segmentation.anomaly import find_defects

NOT_PLAYED = ("broker", "recorder", "decision")
SHOWN = 8
"""Parts of each kind that are drawn."""
WORK_NS = 20_000_000
"""From a part's announcement to its score."""
CONTROL_NS = 50_000_000
"""How often orders are read; a beat goes out at every fifth time."""
ORPHAN_NS = 10_000_000_000


def played_rows(config: LineConfig) -> list[Row]:
    """The rows of a line whose places are taken."""
    return [row for row in rows(config) if row.name not in NOT_PLAYED]


@dataclass(frozen=True)
class Scored:
    """What segmentation says of a part, but for whose it is."""

    result: InspectionResult
    truth: Truth


class Scores:
    """Results of good and of defective parts, in turn; `reject_share` of all are a REJECT."""

    def __init__(self, config: LineConfig, reject_share: float, picture_px: int | None) -> None:
        assert isinstance(config.camera, SimulatedCamera)
        bundle_id, bundles_own = stated_identity(config.model.bundle, train_command(config))
        calibration = load_line_calibration(config, bundle_id, bundles_own)
        self._share, self._bundle_id = reject_share, bundle_id
        self._threshold, self._pixel = calibration.threshold, calibration.pixel_threshold
        self._config, self._picture_px = config, picture_px
        self._drawn = {
            defective: [self._scored(number, defective) for number in range(1, SHOWN + 1)]
            for defective in (False, True)
        }

    def of(self, sequence: int) -> Scored:
        """The result of a part: rejects are spread evenly."""
        defective = int(sequence * self._share) > int((sequence - 1) * self._share)
        return self._drawn[defective][sequence % SHOWN]

    def _scored(self, number: int, defective: bool) -> Scored:
        config, camera = self._config, self._config.camera
        assert isinstance(camera, SimulatedCamera)
        renderer = PartRenderer(camera.product, camera.size_px, camera.seed, float(defective))
        part = renderer.render(number)
        longest_px = self._picture_px or max(config.reject_log.view_px, *config.frame.input_px)
        height, width = (min(longest_px, side) for side in config.frame.input_px)
        view = _view(part.image, min(longest_px, config.reject_log.view_px))
        small = cv2.resize(view, (width, height)).reshape(height, width, -1)
        mask = cv2.resize(part.mask.astype(np.float32), (width, height))
        anomaly_map = (mask * 0.98).astype(np.float16)
        scale = (view.shape[1] / width, view.shape[0] / height)
        result = InspectionResult(
            part=Part(config.line, "", 0),
            bundle_id=self._bundle_id,
            score=2 * self._threshold if defective else 0.1 * self._threshold,
            defects=find_defects(anomaly_map, self._pixel, scale),
            view=view,
            reconstruction=small,
            anomaly_map=anomaly_map,
        )
        return Scored(result, part.truth)


def _view(image: np.ndarray, view_px: int) -> np.ndarray:
    """(H, W) or (H, W, C) uint8 -> (h, w, C) whose longest side is at most `view_px`."""
    height, width = image.shape[:2]
    scale = min(1.0, view_px / max(height, width))
    size = round(width * scale), round(height * scale)
    return cv2.resize(image, size).reshape(size[1], size[0], -1)


class Place:
    """One worker's place in the line: its sockets and its beats."""

    def __init__(self, row: Row, worker: int, config: LineConfig, session: str) -> None:
        self.row, self._worker, self._session = row, worker, session
        self.ports = Ports(row, worker, config, session, Bell())

    def send(self, message: Message) -> None:
        """Hand a message over, now or when there is room."""
        self.ports.put(message)
        self.ports.flush()

    def beat(self, report: StageReport, *, capturing: bool, ready: bool) -> None:
        """Say that this worker is there, or that it ends."""
        self.ports.control.beat(
            Beat(
                stage=self.row.name,
                worker=self._worker,
                pid=os.getpid(),
                session=self._session,
                ready=ready,
                capturing=capturing,
                received={},
                sent=dict(self.ports.sent),
                failed=0,
                damaged=0,
                dropped=0,
                resident_mb=round(resident_mb(), 1),
                report=report,
            )
        )


class Player:
    """Plays until the supervisor ends the line. Raises LineError where the supervisor is gone."""

    def __init__(self, config: LineConfig, scores: Scores, rate_hz: float, parts: int) -> None:
        self._config, self._scores, self._parts = config, scores, parts
        self._period_ns = round(1e9 / rate_hz)
        self._session = (config.run_dir / SESSION_FILE).read_text(encoding="ascii").strip()
        self._counter = SequenceCounter(config.run_dir / "sequence")
        self._places = [
            Place(row, worker, config, self._session)
            for row in played_rows(config)
            for worker in range(row.workers(config).workers)
        ]
        self._cameras = [it for it in self._places if "announcement" in it.row.produces]
        self._scorers = [it for it in self._places if "result" in it.row.produces]
        self._order: LineOrder | None = None
        self._order_at_ns = time.monotonic_ns()
        self._control_at_ns, self._controls = 0, 0
        self._due_ns: int | None = None
        self._in_work: deque[Announcement] = deque()
        self._ended = False

    def run(self) -> None:
        """Announce and score, as it becomes due."""
        while not self._ended:
            now_ns = time.monotonic_ns()
            if now_ns >= self._control_at_ns:
                self._control(now_ns)
            if self._order is not None and self._order.capture:
                self._announce_due()
            self._score_due()
            self._sleep()
        self._beat(ready=False)
        for place in self._places:
            place.ports.close()

    def end(self) -> None:
        """End after the present turn."""
        self._ended = True

    def _announce_due(self) -> None:
        if self._due_ns is None:
            self._due_ns = time.monotonic_ns()
        now_ns = time.monotonic_ns()
        while self._due_ns <= now_ns and self._counter.last < self._parts:
            self._due_ns += self._period_ns
            self._announce()

    def _announce(self) -> None:
        now_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        sequence = self._counter.next()
        announcement = Announcement(
            part=Part(self._config.line, self._session, sequence),
            captured_monotonic_ns=now_ns,
            captured_wall_ns=wall_ns,
            deadline_monotonic_ns=now_ns + self._config.timing.deadline_ms * 1_000_000,
            source="played",
            truth=self._scores.of(sequence).truth,
        )
        self._cameras[0].send(announcement)
        self._in_work.append(announcement)

    def _score_due(self) -> None:
        while self._in_work:
            first = self._in_work[0]
            if first.captured_monotonic_ns + WORK_NS > time.monotonic_ns():
                return
            self._score(self._in_work.popleft())

    def _score(self, announced: Announcement) -> None:
        """The stamps say that all time was spent in the first stage; the last one is now."""
        part, began_ns = announced.part, announced.captured_monotonic_ns
        names = [place.row.name for place in reversed(self._places) if place.row.consumes]
        now_ns = time.monotonic_ns()
        stamps = [Stamp(name, began_ns, now_ns) for name in dict.fromkeys(names)]
        like = self._scores.of(part.sequence).result
        result = InspectionResult(
            part=part,
            bundle_id=like.bundle_id,
            score=like.score,
            defects=like.defects,
            view=like.view,
            reconstruction=like.reconstruction,
            anomaly_map=like.anomaly_map,
            stamps=tuple(stamps),
        )
        self._scorers[part.sequence % len(self._scorers)].send(result)

    def _control(self, now_ns: int) -> None:
        """Read the orders, and send beats every quarter of a second."""
        self._control_at_ns = now_ns + CONTROL_NS
        for place in self._places:
            place.ports.flush()
            order = place.ports.control.order()
            if order is not None and order.session == self._session:
                self._order, self._order_at_ns = order, now_ns
        if now_ns - self._order_at_ns > ORPHAN_NS:
            raise LineError("no order for 10 s: the supervisor is gone")
        if self._controls % 5 == 0:
            self._beat(ready=True)
        self._controls += 1
        stop = () if self._order is None else self._order.stop
        self._ended |= all(place.row.name in stop for place in self._places)

    def _beat(self, *, ready: bool) -> None:
        over = self._counter.last >= self._parts and not self._in_work
        report = StageReport(last_sequence=self._counter.last, exhausted=over)
        capturing = self._order is not None and self._order.capture
        for place in self._places:
            own = report if place in self._cameras else StageReport()
            place.beat(own, capturing=capturing, ready=ready)

    def _sleep(self) -> None:
        due = [self._control_at_ns]
        if self._due_ns is not None and self._counter.last < self._parts:
            due.append(self._due_ns)
        if self._in_work:
            due.append(self._in_work[0].captured_monotonic_ns + WORK_NS)
        time.sleep(max(0.0, (min(due) - time.monotonic_ns()) / 1e9))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = plain_parser("benchmarks.verdict_player", __doc__)
    parser.add_argument("--config", type=Path, required=True, help="of the running line")
    parser.add_argument("--rate", type=above_zero, required=True, help="parts per second")
    parser.add_argument("--parts", type=whole_number(1), required=True, help="how many")
    parser.add_argument("--reject-share", type=share, default=0.1, help="of the parts (0.1)")
    parser.add_argument("--picture-px", type=whole_number(16), help="longest side (the line's)")
    options = parser.parse_args(arguments)
    return run_command(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    config = load_line(options.config)
    if not isinstance(config.camera, SimulatedCamera):
        raise ConfigError("only a line with a simulated camera can be played its parts")
    scores = Scores(config, options.reject_share, options.picture_px)
    player = Player(config, scores, options.rate, options.parts)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        player.end()

    signal.signal(signal.SIGTERM, on_signal)
    player.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
