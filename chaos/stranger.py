"""A stranger at the line's sockets: speaks ZeroMQ's protocol (ZMTP 3) well enough to be let in, or
not at all. Written from the specification, since the line's own library cannot say wrong things.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path
from random import Random

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
"""Signature, version 3.0, no security, client, filler: 64 bytes."""
FITTING = {"control.beats": b"PUSH", "control.orders": b"SUB"}
"""What may connect to a socket; to all others the stranger comes as another consumer."""
MORE, LONG, COMMAND = 1, 2, 4
CONNECT_S = 1.0


@dataclass(frozen=True)
class Words:
    """What a stranger says: at once, and after the other side has let it in."""

    opening: bytes
    rest: bytes = b""


def frame(body: bytes, flags: int = 0) -> bytes:
    """One frame of the protocol."""
    if len(body) < 256:
        return bytes((flags, len(body))) + body
    return bytes((flags | LONG,)) + len(body).to_bytes(8, "big") + body


def ready(kind: bytes) -> bytes:
    """The command with which a peer says what kind of socket it is."""
    name = b"Socket-Type"
    body = b"\x05READY" + bytes((len(name),)) + name + len(kind).to_bytes(4, "big") + kind
    return frame(body, COMMAND)


def knock(path: Path, words: Words) -> socket.socket | None:
    """A connection on which these words were said; None where nobody takes it."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.settimeout(CONNECT_S)
    try:
        peer.connect(str(path))
    except OSError:
        peer.close()
        return None
    with contextlib.suppress(OSError):  # sent away in the middle: all the better
        peer.sendall(words.opening)
        if words.rest:
            _await_ready(peer)
            peer.sendall(words.rest)
    return peer


def _await_ready(peer: socket.socket) -> None:
    """Until the other side has let us in; what is said before that ends the connection."""
    said = b""
    while b"READY" not in said:
        more = peer.recv(4096)
        if not more:
            return
        said += more


def noise(_path: Path, drawn: Random) -> Words:
    """Bytes that mean nothing, or a greeting that breaks off."""
    cut = GREETING[: drawn.randrange(len(GREETING))]
    return Words(drawn.choice((drawn.randbytes(drawn.randrange(1, 5000)), cut, GREETING + cut)))


def speech(path: Path, drawn: Random) -> Words:
    """A peer that fits, and whose messages do not: empty, random, torn, and one without end."""
    bodies = (
        (drawn.randbytes(drawn.choice((0, 1, 8, 200, 3000))), drawn.choice((0, MORE)))
        for _ in range(drawn.randrange(1, 50))
    )
    messages = b"".join(frame(body, flags) for body, flags in bodies)
    endless = bytes((LONG,)) + drawn.choice((1 << 30, 1 << 62, (1 << 64) - 1)).to_bytes(8, "big")
    ending = drawn.choice((b"", endless + b"and so on"))
    return Words(theft(path, drawn).opening, messages + ending)


def theft(path: Path, _drawn: Random) -> Words:
    """One more consumer: parts are handed to it as to any other."""
    return Words(GREETING + ready(FITTING.get(path.name, b"PULL")))
