"""A cable that delays and loses packets, in any kernel with tun devices.

    python -m chaos.cable HERE THERE NAMESPACE

Makes a device in this network namespace and one in another, and carries what comes in at one of
them out at the other, as a process of its own: the campaign may be busy. It takes its settings
line by line from its standard input, `DELAY_S SPREAD_S LOSS`, and answers each with a line; it
ends, and both devices with it, when the input does.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import selectors
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import NamedTuple

TUN = Path("/dev/net/tun")
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
"""From linux/if_tun.h."""
LARGEST_BYTES = 65535
MOST_WAITING = 10_000
"""Packets on their way; more are dropped, as any cable's buffer does."""
ROOT = Path(__file__).resolve().parent.parent
WAIT_S = 10.0


class Disturbance(NamedTuple):
    """Every packet comes `delay_s` late, give or take up to `spread_s`, so that some overtake
    others; a share `loss` of them never does.
    """

    delay_s: float = 0.0
    spread_s: float = 0.0
    loss: float = 0.0

    def __str__(self) -> str:
        return f"{self.delay_s} {self.spread_s} {self.loss}"


CALM = Disturbance()


@dataclass
class Transit:
    """The packets that are on their way, each to the device that it leaves by."""

    disturbance: Disturbance = CALM
    drawn: Random = field(default_factory=lambda: Random(0))
    _waiting: list[tuple[float, int, int, bytes]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    def enter(self, packet: bytes, device: int, now_s: float) -> None:
        """A packet that is to leave by `device`; lost or late as `disturbance` says."""
        delay_s, spread_s, loss = self.disturbance
        if self.drawn.random() < loss or len(self._waiting) >= MOST_WAITING:
            return
        due_s = now_s + max(0.0, delay_s + self.drawn.uniform(-spread_s, spread_s))
        heapq.heappush(self._waiting, (due_s, next(self._numbers), device, packet))

    def leave(self, now_s: float, write: Callable[[int, bytes], object]) -> float | None:
        """Writes what is due; seconds until the next one is, None if nothing is on its way."""
        while self._waiting and self._waiting[0][0] <= now_s:
            _, _, device, packet = heapq.heappop(self._waiting)
            with suppress(OSError):  # a device that is down: the cable is cut, the packet lost
                write(device, packet)
        return self._waiting[0][0] - now_s if self._waiting else None


class Cable:
    """The process of a cable, from outside."""

    def __init__(self, here: str, there: str, namespace: str) -> None:
        """Lay it; both devices are there when this returns. Raises OSError where they cannot be."""
        command = [sys.executable, "-m", "chaos.cable", here, there, namespace]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self._answered()

    def disturb(self, disturbance: Disturbance) -> None:
        """From now on, also for no disturbance: CALM. Raises OSError where the process is gone."""
        assert self._process.stdin is not None
        print(disturbance, file=self._process.stdin, flush=True)
        self._answered()

    def close(self) -> None:
        """Take it away, with both devices."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(WAIT_S)
        self._process.stdout.close()

    def _answered(self) -> None:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if said != "done":
            self._process.kill()
            self._process.wait()
            raise OSError(said or "the cable's process ended without a word")


def open_device(name: str) -> int:
    """A new tun device of this namespace; a file whose reads and writes are its packets."""
    device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    try:
        request = struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI)
        fcntl.ioctl(device, TUNSETIFF, request)
    except OSError:
        os.close(device)
        raise
    return device


def main(here: str, there: str, namespace: str) -> None:
    """Lay the cable and carry packets until standard input ends."""
    try:
        ends = open_device(here), open_device(there)
        move = ["ip", "link", "set", there, "netns", namespace]
        subprocess.run(move, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        print(f"{TUN}: {detail}", flush=True)
        return
    print("done", flush=True)
    _carry(ends, Transit())


def _carry(ends: tuple[int, int], transit: Transit) -> None:
    other = dict(zip(ends, reversed(ends), strict=True))
    with selectors.DefaultSelector() as ready:
        for end in ends:
            ready.register(end, selectors.EVENT_READ)
        ready.register(sys.stdin, selectors.EVENT_READ)
        wait_s: float | None = None
        while True:
            for key, _ in ready.select(wait_s):
                if key.fd in other:
                    for packet in _packets(key.fd):
                        transit.enter(packet, other[key.fd], time.monotonic())
                elif line := sys.stdin.readline():
                    transit.disturbance = Disturbance(*map(float, line.split()))
                    print("done", flush=True)
                else:
                    return
            wait_s = transit.leave(time.monotonic(), os.write)


def _packets(device: int) -> list[bytes]:
    """All that has come in at a device."""
    found = []
    with suppress(OSError):  # no more for now, or the device is down
        while True:
            found.append(os.read(device, LARGEST_BYTES))
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
