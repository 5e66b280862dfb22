"""A camera whose rate changes: an acquisition process for `run_line --by-hand acquisition`.

    python -m benchmarks.shown_camera --config RUN_FOLDER/line.yaml --phase 12:100 --phase max:50

It draws a few parts of the line's simulated product before the first one is wanted, scales them to
the frame's size, and shows them in turn: so the line is measured and not the drawing, which takes
longer for a large frame than the line takes to inspect it. As many are defective as the line's
own camera shows, since a reject costs the line its pictures. Everything behind the camera is what
every line has.
"""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import cv2
import numpy as np

from pipeline.command_line import above_zero, plain_parser, run_command, whole_number
from pipeline.config import LineConfig, SimulatedCamera
from pipeline.config_file import load_line
from pipeline.control import LineOrder, StageReport
from pipeline.errors import ConfigError
from pipeline.line import row_named
from pipeline.logs import open_log
from pipeline.messages import Message
from pipeline.run_folder import SESSION_FILE
from pipeline.stage import NEVER_NS, StageContext
from pipeline.stage_loop import StageLoop
from stages.acquisition.sequence import SequenceCounter
from stages.acquisition.shot import Clock, Shot, SystemClock
from stages.acquisition.simulation import DEFECT_KINDS, PartRenderer
from stages.acquisition.source import STAGE, CaptureRule, PartSource

SHOWN = 8
"""Good parts that are drawn."""
SHOWN_DEFECTS = DEFECT_KINDS[::2]
"""A defective part of each of these kinds is drawn."""
DRAWN_PX = 1024
"""Longest side that is drawn; a larger frame is scaled up from a whole fraction of its size."""
LEAST_PX = 128
"""Smallest side that can be drawn."""


@dataclass(frozen=True)
class Phase:
    """So many parts at one rate; `rate_hz` None: as fast as the line takes them."""

    rate_hz: float | None
    parts: int

    def __str__(self) -> str:
        return f"{'max' if self.rate_hz is None else f'{self.rate_hz:.4f}'}:{self.parts}"


def read_phase(text: str) -> Phase:
    """`RATE:PARTS`, with `max` for no rate, for argparse."""
    rate, _, parts = text.partition(":")
    return Phase(None if rate == "max" else above_zero(rate), whole_number(1)(parts))


class ShownCamera:
    """Shows the same few parts again and again; `settings` say product, size and the share of
    defective ones, which come at even distances.
    """

    live = False
    exhausted = False
    warning = away = ""

    def __init__(self, settings: SimulatedCamera, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._good: list[Shot] = []
        self._defective: list[Shot] = []

    def open(self) -> None:
        """Draw the parts. Raises ConfigError for an unknown product or size."""
        settings = self._settings
        height, width = settings.size_px
        parts = math.ceil(max(height, width) / DRAWN_PX)
        drawn_px = height // parts, width // parts
        renderer = PartRenderer(settings.product, drawn_px, settings.seed, settings.defect_share)

        def shot(number: int, kind: str | None) -> Shot:
            part = renderer.render(number, kind)
            image = scaled(part.image, (height, width))
            return Shot(image, None, f"{settings.product}/{kind or 'good'}", part.truth, 0, 0)

        self._good = [shot(number, None) for number in range(SHOWN)]
        self._defective = [shot(number, kind) for number, kind in enumerate(SHOWN_DEFECTS)]

    def read(self, sequence: int, timeout_s: float) -> Shot:
        """The next of the parts, taken now."""
        share = self._settings.defect_share
        before, defects = int((sequence - 1) * share), int(sequence * share)
        shots = self._defective if defects > before else self._good
        shown = shots[(defects if defects > before else sequence) % len(shots)]
        return Shot(
            shown.image,
            None,
            shown.source,
            shown.truth,
            self._clock.monotonic_ns(),
            self._clock.wall_ns(),
        )

    def close(self) -> None:
        """Let go of the parts."""
        self._good.clear()
        self._defective.clear()


def scaled(image: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """`image` (h, w) or (h, w, C) uint8 at the size (height, width)."""
    height, width = size_px
    return image if image.shape[:2] == size_px else cv2.resize(image, (width, height))


def frame_bytes(settings: SimulatedCamera) -> int:
    """Bytes of one frame of this product and size."""
    seed = settings.seed
    part = PartRenderer(settings.product, (LEAST_PX, LEAST_PX), seed, 0.0).render(1)
    height, width = settings.size_px
    return part.image.nbytes // LEAST_PX**2 * height * width


class PhasedAcquisition:
    """The stage: one phase after the other, with one count of parts and one camera."""

    def __init__(self, context: StageContext, phases: Sequence[Phase]) -> None:
        self._context, self._phases = context, phases
        self._sources: list[PartSource] = []
        self._capturing = self._room = False

    def open(self) -> None:
        """Draw the parts and begin to count. Raises ConfigError as the camera does."""
        config = self._context.config
        assert isinstance(config.camera, SimulatedCamera)
        camera = ShownCamera(config.camera, SystemClock())
        camera.open()
        counter = SequenceCounter(config.run_dir / "sequence")
        total = 0
        for phase in self._phases:
            total += phase.parts
            rule = CaptureRule(phase.rate_hz, total, config.timing.deadline_ms)
            session = self._context.session
            source = PartSource(camera, rule, line=config.line, session=session, counter=counter)
            self._sources.append(source)
        self._counter = counter

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        """Nothing comes to acquisition."""
        assert not messages
        return ()

    def tick(self, now_monotonic_ns: int, order: LineOrder, room: bool) -> Iterable[Message]:
        """At most one part of the present phase."""
        self._capturing, self._room = order.capture, room
        if not order.capture:
            return ()
        while len(self._sources) > 1 and self._sources[0].exhausted:
            del self._sources[0]
        return self._sources[0].capture(now_monotonic_ns, room)

    def due_ns(self, now_monotonic_ns: int) -> int:
        """The time of the next part."""
        source = self._sources[0]
        if source.exhausted and len(self._sources) > 1:
            return now_monotonic_ns
        due_ns = source.next_due(now_monotonic_ns, self._room) if self._capturing else None
        return NEVER_NS if due_ns is None else due_ns

    def report(self) -> StageReport:
        """How far the count is, and whether the last phase is over."""
        return StageReport(last_sequence=self._counter.last, exhausted=self._sources[-1].exhausted)

    def close(self) -> None:
        """Nothing is held that the process's end would not let go of."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = plain_parser("benchmarks.shown_camera", __doc__)
    parser.add_argument("--config", type=Path, required=True, help="of the running line")
    parser.add_argument(
        "--phase",
        type=read_phase,
        action="append",
        required=True,
        metavar="RATE:PARTS",
        help="parts per second or max, and how many; may be repeated",
    )
    options = parser.parse_args(arguments)
    return run_command(lambda: _run(load_line(options.config), options.phase))


def _run(config: LineConfig, phases: Sequence[Phase]) -> int:
    if not isinstance(config.camera, SimulatedCamera):
        raise ConfigError("only a line with a simulated camera can be shown its parts")
    session = (config.run_dir / SESSION_FILE).read_text(encoding="ascii").strip()
    context = StageContext(config, session, 0, open_log(config, STAGE, False))
    loop = StageLoop(row_named(STAGE), PhasedAcquisition(context, phases), context)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        loop.terminate()

    signal.signal(signal.SIGTERM, on_signal)
    return loop.run()


if __name__ == "__main__":
    sys.exit(main())
