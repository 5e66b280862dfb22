"""The part source: pacing, room, numbers and announcements, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.config_file import CONFIGS, load_line
from pipeline.errors import FrameError
from pipeline.messages import Announcement, CapturedFrame, Failure, Message, Reason, Truth
from stages.acquisition.sequence import SequenceCounter
from stages.acquisition.shot import Shot
from stages.acquisition.source import CaptureRule, PartSource

if TYPE_CHECKING:
    from .conftest import FakeClock

MS = 1_000_000


class ScriptedCamera:
    """Hands out what the test has laid ready: an image, a fault, or None for nothing yet."""

    def __init__(
        self,
        clock: FakeClock,
        script: Sequence[np.ndarray | FrameError | None] | None = None,
        live: bool = False,
    ) -> None:
        self.live = live
        self.warning = self.away = "camera away" if live else ""
        self.asked: list[int] = []
        self._clock = clock
        self._script = None if script is None else list(script)

    @property
    def exhausted(self) -> bool:
        return self._script == []

    def open(self) -> None: ...

    def close(self) -> None: ...

    def read(self, sequence: int, timeout_s: float) -> Shot | None:
        self.asked.append(sequence)
        found = np.full((4, 6), sequence, np.uint8) if self._script is None else self._script.pop(0)
        if found is None:
            return None
        return Shot(
            image=None if isinstance(found, FrameError) else found,
            fault=found if isinstance(found, FrameError) else None,
            source=f"product/{sequence}",
            truth=Truth(defective=True, kind="scratch"),
            captured_monotonic_ns=self._clock.monotonic_ns(),
            captured_wall_ns=self._clock.wall_ns(),
        )


def source(camera: ScriptedCamera, folder: Path, **rule: Any) -> PartSource:
    settings: dict[str, Any] = {"rate_hz": None, "parts": None, "deadline_ms": 500}
    counter = SequenceCounter(folder / "sequence")
    rules = CaptureRule(**(settings | rule))
    return PartSource(camera, rules, line=3, session="s1", counter=counter)


def run(
    parts: PartSource, clock: FakeClock, milliseconds: int, step_ms: int = 1, room: bool = True
) -> list[tuple[int, list[Message]]]:
    """(time in ms since the start, messages) of each part that the source gave meanwhile."""
    start_ns, given = clock.now_ns, []
    while clock.now_ns < start_ns + milliseconds * MS:
        messages = parts.capture(clock.now_ns, room)
        if messages:
            given.append(((clock.now_ns - start_ns) // MS, messages))
        clock.now_ns += step_ms * MS
    return given


def test_a_part_is_announced_and_its_frame_passed_on(clock: FakeClock, tmp_path: Path) -> None:
    parts = source(ScriptedCamera(clock), tmp_path)
    announcement, frame = parts.capture(clock.now_ns, room=True)
    assert isinstance(announcement, Announcement)
    assert isinstance(frame, CapturedFrame)
    assert announcement.part == frame.part
    assert announcement.part.part_id == "L3-s1-000001"
    assert announcement.captured_monotonic_ns == clock.now_ns
    assert announcement.captured_wall_ns == clock.wall_ns()
    assert announcement.deadline_monotonic_ns == clock.now_ns + 500 * MS
    assert frame.deadline_monotonic_ns == announcement.deadline_monotonic_ns
    assert announcement.source == "product/1"
    assert announcement.truth == Truth(defective=True, kind="scratch")
    assert (frame.image == 1).all()


def test_a_fault_of_the_camera_answers_the_part(clock: FakeClock, tmp_path: Path) -> None:
    fault = FrameError(Reason.FRAME_UNREADABLE, "a.png: the file is empty")
    parts = source(ScriptedCamera(clock, [fault]), tmp_path)
    announcement, failure = parts.capture(clock.now_ns, room=True)
    assert isinstance(announcement, Announcement)
    assert isinstance(failure, Failure)
    assert failure.part == announcement.part
    assert (failure.reason, failure.text) == (Reason.FRAME_UNREADABLE, "a.png: the file is empty")
    assert failure.view.shape == (0, 0, 1)


def test_no_number_is_used_up_while_nothing_comes(clock: FakeClock, tmp_path: Path) -> None:
    image = np.zeros((4, 6), np.uint8)
    camera = ScriptedCamera(clock, [None, None, image])
    parts = source(camera, tmp_path)
    assert parts.capture(clock.now_ns, room=True) == []
    assert parts.capture(clock.now_ns, room=True) == []
    announcement, _ = parts.capture(clock.now_ns, room=True)
    assert isinstance(announcement, Announcement)
    assert announcement.part.sequence == 1
    assert camera.asked == [1, 1, 1]
    assert parts.exhausted
    assert parts.next_due(clock.now_ns) is None
    assert parts.capture(clock.now_ns, room=True) == []


def test_a_restarted_source_goes_on(clock: FakeClock, tmp_path: Path) -> None:
    camera = ScriptedCamera(clock)
    source(camera, tmp_path).capture(clock.now_ns, room=True)
    source(camera, tmp_path).capture(clock.now_ns, room=True)
    assert camera.asked == [1, 2]


def test_it_stops_after_the_wanted_parts_also_over_a_restart(
    clock: FakeClock, tmp_path: Path
) -> None:
    parts = source(ScriptedCamera(clock), tmp_path, parts=3)
    assert len(run(parts, clock, 2)) == 2
    assert not parts.exhausted
    restarted = source(ScriptedCamera(clock), tmp_path, parts=3)
    assert len(run(restarted, clock, 5)) == 1
    assert restarted.exhausted
    assert restarted.next_due(clock.now_ns) is None


def test_parts_come_on_a_grid_however_the_ticks_fall(clock: FakeClock, tmp_path: Path) -> None:
    parts = source(ScriptedCamera(clock), tmp_path, rate_hz=20)
    times = [time for time, _ in run(parts, clock, 1000, step_ms=7)]
    assert len(times) == 20
    assert all(0 <= time - 50 * index < 7 for index, time in enumerate(times))


def test_the_next_due_time_is_on_the_grid(clock: FakeClock, tmp_path: Path) -> None:
    parts = source(ScriptedCamera(clock), tmp_path, rate_hz=20)
    start = clock.now_ns
    assert parts.next_due(start) == start
    parts.capture(start, room=True)
    assert parts.next_due(start + 3 * MS) == start + 50 * MS
    assert parts.capture(start + 49 * MS, room=True) == []


def test_a_small_delay_is_caught_up(clock: FakeClock, tmp_path: Path) -> None:
    parts = source(ScriptedCamera(clock), tmp_path, rate_hz=20)
    run(parts, clock, 51)
    clock.now_ns += 149 * MS  # the grid's points 100, 150 and 200 ms are due
    assert [time for time, _ in run(parts, clock, 49)] == [0, 1, 2]


def test_a_long_standstill_is_not_caught_up(clock: FakeClock, tmp_path: Path) -> None:
    parts = source(ScriptedCamera(clock), tmp_path, rate_hz=20)
    run(parts, clock, 51)
    clock.now_ns += 10_000 * MS
    start = (clock.now_ns - 1_000_000_000) // MS
    times = [start + time for time, _ in run(parts, clock, 200)]
    assert times == [10_051, 10_100, 10_150, 10_200, 10_250]


def test_an_unpaced_camera_gives_a_part_whenever_asked(clock: FakeClock, tmp_path: Path) -> None:
    parts = source(ScriptedCamera(clock), tmp_path)
    assert len(run(parts, clock, 10)) == 10
    assert parts.next_due(clock.now_ns) == clock.now_ns


def test_without_room_a_replay_waits(clock: FakeClock, tmp_path: Path) -> None:
    camera = ScriptedCamera(clock)
    parts = source(camera, tmp_path)
    assert run(parts, clock, 10, room=False) == []
    assert camera.asked == []
    assert len(run(parts, clock, 1)) == 1


@pytest.mark.parametrize(("rate_hz", "live"), [(20, False), (None, True)])
def test_without_room_a_belt_does_not_stop(
    rate_hz: float | None, live: bool, clock: FakeClock, tmp_path: Path
) -> None:
    parts = source(ScriptedCamera(clock, live=live), tmp_path, rate_hz=rate_hz)
    given = run(parts, clock, 100, step_ms=50, room=False)
    assert [time for time, _ in given] == [0, 50]
    for number, (_, (announcement, failure)) in enumerate(given, start=1):
        assert isinstance(announcement, Announcement)
        assert isinstance(failure, Failure)
        assert failure.reason == Reason.OVERLOAD
        assert failure.part == announcement.part
        assert failure.part.sequence == number


def test_the_cameras_own_fault_comes_before_overload(clock: FakeClock, tmp_path: Path) -> None:
    fault = FrameError(Reason.FRAME_UNREADABLE, "damaged")
    parts = source(ScriptedCamera(clock, [fault], live=True), tmp_path)
    _, failure = parts.capture(clock.now_ns, room=False)
    assert isinstance(failure, Failure)
    assert failure.reason == Reason.FRAME_UNREADABLE


def test_the_warning_is_the_cameras(clock: FakeClock, tmp_path: Path) -> None:
    absent = source(ScriptedCamera(clock, live=True), tmp_path)
    assert (absent.warning, absent.away) == ("camera away", "camera away")


def test_the_rule_comes_from_the_configuration() -> None:
    path = CONFIGS / "line_3.yaml"
    config = load_line(path, [("camera.rate_hz", 4), ("camera.parts", 9)])
    rule = CaptureRule.of(config)
    assert rule == CaptureRule(4.0, 9, config.timing.deadline_ms)


def test_what_passes_a_live_camera_while_the_line_rests_is_no_part(
    clock: FakeClock, tmp_path: Path
) -> None:
    image = np.zeros((4, 6), np.uint8)
    camera = ScriptedCamera(clock, [image, image, None, image, None, image], live=True)
    parts = source(camera, tmp_path)
    for _ in range(2):
        parts.rest()
    announcement, _ = parts.capture(clock.now_ns, room=True)
    assert announcement.part.sequence == 1, "frames of the pause have no number"
    assert camera.exhausted


def test_a_camera_that_can_wait_keeps_its_parts_while_the_line_rests(
    clock: FakeClock, tmp_path: Path
) -> None:
    camera = ScriptedCamera(clock)
    parts = source(camera, tmp_path)
    parts.rest()
    assert camera.asked == []
    assert len(parts.capture(clock.now_ns, room=True)) == 2
