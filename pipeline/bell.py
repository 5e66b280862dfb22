"""Wakes a stage's loop before its time: from another thread, or from a signal."""

from __future__ import annotations

import os
import weakref


class Bell:
    """What was rung since it was last heard wakes whoever polls `fileno`; ringing never waits."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._event).atexit = False

    def fileno(self) -> int:
        """What a poller watches; it can be read once the bell was rung."""
        return self._event

    def ring(self) -> None:
        """Wake the loop, or keep it from its next sleep."""
        os.eventfd_write(self._event, 1)

    def hear(self) -> bool:
        """Whether it was rung since the last call."""
        try:
            return os.eventfd_read(self._event) > 0
        except BlockingIOError:
            return False
