"""Whether the PLC acts: each reject is acknowledged, or its silence is an alarm."""

from __future__ import annotations


class AckWatch:
    """Expects an ack for each reject within `window_s` after its deadline; None expects nothing."""

    def __init__(self, window_s: float | None) -> None:
        self._window_s = window_s
        self._due_s: dict[int, float] = {}
        self._silent_from: int | None = None
        self.missed = 0
        """Rejects of this session that were not acknowledged in time."""

    def expect(self, sequence: int, deadline_s: float) -> None:
        """A reject was sent; its gate has to act by `deadline_s`, monotonic seconds."""
        if self._window_s is not None:
            self._due_s[sequence] = deadline_s + self._window_s

    def acknowledge(self, sequence: int) -> None:
        """The PLC has acted; it is not silent any more."""
        self._due_s.pop(sequence, None)
        self._silent_from = None

    def forget(self) -> None:
        """The connection is lost: nobody can know what the PLC has got."""
        self._due_s.clear()
        self._silent_from = None

    def alarm(self, now_s: float) -> str:
        """One sentence while the PLC is silent, the same until it speaks again; else empty."""
        for sequence in [number for number, due_s in self._due_s.items() if due_s < now_s]:
            del self._due_s[sequence]
            self.missed += 1
            self._silent_from = self._silent_from or sequence
        if self._silent_from is None:
            return ""
        return (
            f"the PLC has not acknowledged the reject of part {self._silent_from} within "
            f"{self._window_s:g} s after its deadline; see that it runs and writes to ack"
        )
