"""Raw bytes at the port of a line's own broker: no MQTT, half of it, or other lengths than it says.

Each goes on a connection of its own, which stays open for a while, as a peer's does that has said
half a word and then nothing more.
"""

from __future__ import annotations

import random
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

NAME = "port of the broker"
PER_TURN = 5
MOST_OPEN = 100
"""Connections at a time; the oldest is cut off for the next one."""
CONNECT_S = 0.5
SPARE_DESCRIPTORS = 8
"""What the broker may have opened meanwhile for those who may: the line, the PLC, files."""
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER that leaves no connection behind on this side, of which a machine has only so many."""
_ID = b"\x00\x09fuzz-port"
CONNECT = b"\x10\x15\x00\x04MQTT\x04\x02\x00\x3c" + _ID
"""MQTT 3.1.1, a clean session, 60 s, no will, no user."""

Way = Callable[[random.Random], bytes]


def noise(chance: random.Random) -> bytes:
    """Any bytes."""
    return chance.randbytes(chance.randrange(1, 2000))


def silence(_chance: random.Random) -> bytes:
    """A connection and no word."""
    return b""


def cut(chance: random.Random) -> bytes:
    """The beginning of a request to connect."""
    return CONNECT[: chance.randrange(1, len(CONNECT))]


def another_length(chance: random.Random) -> bytes:
    """A request that says to be shorter or longer than it is."""
    length = chance.choice([n for n in range(128) if n != CONNECT[1]])
    return CONNECT[:1] + bytes([length]) + CONNECT[2:]


def endless_length(chance: random.Random) -> bytes:
    """A length of more bytes than one may have, or the largest that there is."""
    length = chance.choice([b"\xff" * 4, b"\xff\xff\xff\x7f", b"\xff" * 40, b"\x80" * 5])
    return chance.choice([b"\x10", b"\x30", b"\x82"]) + length + CONNECT[2:]


def inner_length(chance: random.Random) -> bytes:
    """A name or an id that is longer than what follows."""
    at = chance.choice([2, 12])
    return CONNECT[:at] + struct.pack(">H", chance.randrange(200, 65_536)) + CONNECT[at + 2 :]


def another_protocol(chance: random.Random) -> bytes:
    """A protocol or a version that nobody speaks."""
    name = chance.choice([b"MQIsd", b"HTTP", b"\xff\xfe\xfd\xfc", b"mqtt"])
    body = struct.pack(">H", len(name)) + name + bytes([chance.choice([0, 1, 77, 255])])
    body += CONNECT[9:]
    return CONNECT[:1] + bytes([len(body)]) + body


def too_soon(chance: random.Random) -> bytes:
    """Another packet before any request to connect."""
    kind = chance.choice([0, *range(2, 16)])
    body = chance.randbytes(chance.randrange(0, 60))
    return bytes([kind << 4 | chance.randrange(16), len(body)]) + body


def connected(chance: random.Random) -> bytes:
    """A sound request, and nonsense once it is granted."""
    return CONNECT + chance.choice([noise, too_soon, endless_length])(chance)


WAYS: tuple[Way, ...] = (
    noise,
    silence,
    cut,
    another_length,
    endless_length,
    inner_length,
    another_protocol,
    too_soon,
    connected,
)


class PortAttack:
    """A target of the campaign. Nobody has to count these: an MQTT broker has no word for them, and
    whoever is on this machine may connect to this one anyway. They must end nothing, and leave
    nothing open.
    """

    name, stage, expected = NAME, "broker", 0

    def __init__(self, host: str, port: int, process: int, chance: random.Random) -> None:
        self._address, self._process, self._chance = (host, port), process, chance
        self._open: deque[socket.socket] = deque()
        self._before = self.descriptors
        self.sent = 0

    @property
    def descriptors(self) -> int:
        """Open files and sockets of the broker's process."""
        return len(list(Path(f"/proc/{self._process}/fd").iterdir()))

    @property
    def left_open(self) -> int:
        """Descriptors of the broker beyond those that it had before, and may have more."""
        return max(0, self.descriptors - self._before - SPARE_DESCRIPTORS)

    def feed(self, limit: int) -> None:
        """Some more connections, as far as the broker takes them."""
        for _ in range(min(PER_TURN, limit - self.sent)):
            way = self._chance.choice(WAYS)
            try:
                peer = socket.create_connection(self._address, CONNECT_S)
            except OSError:  # too many at once; the next turn tries again
                return
            peer.setblocking(False)
            with suppress(OSError):  # it has let go already
                peer.send(way(self._chance))
            self._open.append(peer)
            self.sent += 1
            if len(self._open) > MOST_OPEN:
                self._cut_off()

    def close(self) -> None:
        """Let go of the broker."""
        while self._open:
            self._cut_off()

    def _cut_off(self) -> None:
        peer = self._open.popleft()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        peer.close()
