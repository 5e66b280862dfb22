"""A live camera through OpenCV, network stream or USB, that is reconnected for as long as it takes.

Frames are stamped when they arrive. Each is a part from the first `read` on: where the line does
not take them, the image is let go but its part remains and becomes UNINSPECTED.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from pipeline import config as configuration
from pipeline.errors import FrameError
from pipeline.messages import REASON_TEXT, Reason
from stages.acquisition.connection import Connection
from stages.acquisition.shot import Clock, Shot

QUEUED_IMAGES = 64
QUEUED_SHOTS = 100_000
"""Beyond so many shots that nobody takes, even the parts are lost: they are counted only."""
MOST_STUCK = 4
_CLOSING_S = 2.0


class StreamCamera:
    """Shots in the order of their arrival; never exhausted."""

    live = True
    exhausted = False

    def __init__(
        self,
        settings: configuration.StreamCamera,
        clock: Clock,
        queued_images: int = QUEUED_IMAGES,
        arrived: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._queued_images = queued_images
        self._arrived = arrived
        self._name = shown_address(settings.url)
        self._changed = threading.Condition()
        self._shots: deque[Shot] = deque()
        self._images = 0
        self._overrun = 0
        self._lost = 0
        self._wanted = False
        self._away = ""
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="camera keeper", daemon=True)

    @property
    def warning(self) -> str:
        """What is wrong with the camera now: it is away, or the line does not keep up with it."""
        with self._changed:
            if self._away:
                return self._absence()
            if not self._overrun:
                return ""
            lost = f", {self._lost} more were lost" if self._lost else ""
            return (
                f"camera {self._name} is faster than the line: {self._overrun} frames found no "
                f"room and are UNINSPECTED{lost}"
            )

    @property
    def away(self) -> str:
        """Why no frame comes, empty while they do."""
        with self._changed:
            return self._absence() if self._away else ""

    def open(self) -> None:
        """Start connecting; an absent camera is a warning, not an error."""
        self._keeper.start()

    def read(self, sequence: int, timeout_s: float) -> Shot | None:
        """The oldest shot that nobody took yet, (H, W, 3) BGR; frames before the first call go."""
        with self._changed:
            self._wanted = True
            if not self._changed.wait_for(lambda: bool(self._shots), timeout_s):
                self._overrun = self._lost = 0
                return None
            shot = self._shots.popleft()
            self._images -= shot.image is not None
            return shot

    def close(self) -> None:
        """Stop reconnecting and let the connection go."""
        self._stop.set()
        if self._keeper.is_alive():
            self._keeper.join(_CLOSING_S)

    def _keep(self) -> None:
        """Connect again and again, with pauses that double from a tenth of the longest one."""
        longest_s = self._settings.reconnect_ms / 1000
        pause_s = longest_s / 10
        stuck: list[Connection] = []
        while not self._stop.is_set():
            stuck = [connection for connection in stuck if not connection.ended]
            if len(stuck) < MOST_STUCK:
                connection = self._connection()
                cause = connection.watch(self._stop)
                stuck.append(connection)
                pause_s = longest_s / 10 if connection.frames else pause_s
                self._report_away(cause)
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, longest_s)

    def _absence(self) -> str:
        return f"camera {self._name} {self._away}; trying again"

    def _connection(self) -> Connection:
        settings = self._settings
        return Connection(
            settings.url,
            settings.open_timeout_ms,
            settings.read_timeout_ms,
            clock=self._clock,
            deliver=self._deliver,
        )

    def _report_away(self, cause: str) -> None:
        with self._changed:
            self._away = cause

    def _deliver(self, image: np.ndarray) -> None:
        with self._changed:
            self._away = ""
            if not self._wanted:
                return
            room = self._images < self._queued_images
            if len(self._shots) >= QUEUED_SHOTS:
                self._lost += 1
                return
            self._images += room
            self._overrun += not room
            self._shots.append(self._shot(image if room else None))
            self._changed.notify_all()
        self._arrived()

    def _shot(self, image: np.ndarray | None) -> Shot:
        overload = FrameError(Reason.OVERLOAD, REASON_TEXT[Reason.OVERLOAD])
        return Shot(
            image=image,
            fault=overload if image is None else None,
            source=self._name,
            truth=None,
            captured_monotonic_ns=self._clock.monotonic_ns(),
            captured_wall_ns=self._clock.wall_ns(),
        )


def shown_address(url: str) -> str:
    """An address without user, password and query, fit for logs and records."""
    return re.sub(r"://[^/]*@", "://", url.partition("?")[0])
