"""Stands between the sockets of a running line: passes on what comes, and adds what it is given.

A local socket is a file. Its file is moved aside and another socket takes its name: who connects
from then on is connected to this one, which hands everything on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import zmq

from benchmarks.malformed import Frames

ASIDE = ".behind"
Change = Callable[[Frames], Frames]


class Tap:
    """One socket of a line. `bound_by`: which end of it the line has bound."""

    def __init__(self, context: zmq.Context[Any], file: Path, bound_by: str) -> None:
        aside = file.with_name(file.name + ASIDE)
        os.rename(file, aside)
        kinds = {
            "producer": (zmq.PULL, zmq.PUSH),
            "consumer": (zmq.PULL, zmq.PUSH),
            "publisher": (zmq.SUB, zmq.PUB),
        }
        kind_in, kind_out = kinds[bound_by]
        self._in: zmq.Socket[Any] = context.socket(kind_in)
        self._out: zmq.Socket[Any] = context.socket(kind_out)
        self._in.setsockopt(zmq.RCVHWM, 10)  # what waits here waits at its producer, as it should
        self._out.setsockopt(zmq.SNDHWM, 0 if bound_by == "publisher" else 100)
        for end in (self._in, self._out):
            end.setsockopt(zmq.LINGER, 0)
        if bound_by == "publisher":
            self._in.subscribe(b"")
        ends = (self._out, self._in) if bound_by == "consumer" else (self._in, self._out)
        ends[0].connect(f"ipc://{aside}")
        ends[1].bind(f"ipc://{file}")
        self.file, self.aside = file, aside

    @property
    def source(self) -> zmq.Socket[Any]:
        """What comes out of the line, for a poller."""
        return self._in

    def pass_on(self, change: Change) -> None:
        """Hand on what waits, as far as there is room; `change` sees each message first."""
        while self._room():
            try:
                frames = self._in.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._out.send_multipart(change(frames))

    def add(self, frames: Frames) -> bool:
        """Send something of one's own; False where there is no room, and while something of the
        line's waits for it: signs of life that came late behind this would end healthy processes.
        """
        if self._in.poll(0, zmq.POLLIN) or not self._room():
            return False
        self._out.send_multipart(frames)
        return True

    def close(self) -> None:
        """Let go of both ends."""
        self._in.close()
        self._out.close()

    def _room(self) -> bool:
        return bool(self._out.poll(0, zmq.POLLOUT))


def wait_for_any(taps: Iterable[Tap], timeout_ms: int) -> None:
    """Sleep until the line has something to pass on."""
    poller = zmq.Poller()
    for tap in taps:
        poller.register(tap.source, zmq.POLLIN)
    poller.poll(timeout_ms)
