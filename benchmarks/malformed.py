"""Messages that nobody may act on: cut, flipped, foreign, endless, not finite; a seed, a series.

Each way takes a sound message and gives a spoilt one. What comes out is usually refused, though not
always: a flipped pixel is still a picture.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

Frames = list[bytes]
Way = Callable[[random.Random, Frames], Frames]
DEPTH = 1500
"""Nested more deeply than any decoder follows."""
LONG = 5 << 20
BAD_VALUES: tuple[Any, ...] = (
    math.nan, math.inf, -math.inf, -1, 2**31, 2**53 + 1, 2**63, 2**64 - 1, -(2**63), 0.5, 1e300,
    "", "x" * 5000, "../../etc", "\0", None, True, [], {}, [None] * 50, {"": 0},
)  # fmt: skip
_DEEP = "nested deeply here"


class Notation(Protocol):
    """How the header of a message is written."""

    def read(self, data: bytes) -> Any:
        """As plain values."""

    def write(self, value: Any) -> bytes:
        """As bytes."""


class MessagePack:
    """Between the processes of a line."""

    def read(self, data: bytes) -> Any:
        """As plain values."""
        return msgspec.msgpack.decode(data)

    def write(self, value: Any) -> bytes:
        """As bytes; arrays within arrays where the mark stands."""
        mark = msgspec.msgpack.encode(_DEEP)
        return msgspec.msgpack.encode(value).replace(mark, b"\x91" * DEPTH + b"\x90")


class Json:
    """Between line and PLC."""

    def read(self, data: bytes) -> Any:
        """As plain values."""
        return json.loads(data)

    def write(self, value: Any) -> bytes:
        """As bytes, with NaN where JSON has none."""
        text = json.dumps(value).replace(f'"{_DEEP}"', "[" * DEPTH + "]" * DEPTH)
        return text.encode()


class Malformed:
    """A series of spoilt messages of one kind.

    `sound`: messages of this kind, each as its frames, the header in frame `header`; `foreign`:
    messages of other kinds. No frame gets more than `longest` bytes too many.
    """

    def __init__(
        self,
        chance: random.Random,
        sound: Sequence[Frames],
        foreign: Sequence[Frames] = (),
        notation: Notation | None = None,
        header: int = 1,
        longest: int = LONG,
    ) -> None:
        self._chance, self._sound, self._foreign = chance, sound, foreign
        self._notation = notation or MessagePack()
        self._header, self._longest = header, longest
        self._ways: tuple[Way, ...] = (
            *(noise, empty, cut, flipped, inserted, not_text, another_version, self._lengthened),
            *((shuffled, dropped, repeated, many_frames) if header else (repeated,)),
            *(self._wrong_value, self._wrong_value, self._wrong_value, self._other_kind),
        )

    def next(self) -> Frames:
        """The next one; one of a hundred is spoilt twice."""
        frames = list(self._chance.choice(self._sound))
        for _ in range(2 if self._chance.random() < 0.01 else 1):
            frames = self._chance.choice(self._ways)(self._chance, frames)
        return frames

    def _wrong_value(self, chance: random.Random, frames: Frames) -> Frames:
        """The header written anew, with something in it that has no business there."""
        try:
            value = self._notation.read(frames[self._header])
        except (IndexError, ValueError, RecursionError):  # spoilt already
            return noise(chance, frames)
        spoilt = list(frames)
        spoilt[self._header] = self._notation.write(_spoilt_value(chance, value))
        return spoilt

    def _lengthened(self, chance: random.Random, frames: Frames) -> Frames:
        """A frame far longer than it should be; rarely by megabytes."""
        length = self._longest if chance.random() < 0.002 else chance.randrange(5000)
        return _changed(chance, frames, lambda frame: frame + bytes(length + 1))

    def _other_kind(self, chance: random.Random, frames: Frames) -> Frames:
        return list(chance.choice(self._foreign)) if self._foreign else noise(chance, frames)


def noise(chance: random.Random, _frames: Frames) -> Frames:
    """Random bytes in random frames."""
    return [chance.randbytes(chance.randrange(200)) for _ in range(chance.randint(1, 5))]


def empty(chance: random.Random, frames: Frames) -> Frames:
    """A frame without content, or nothing but such."""
    spoilt = list(frames)
    spoilt[chance.randrange(len(spoilt))] = b""
    return spoilt if chance.random() < 0.5 else [b""] * chance.randint(1, 4)


def cut(chance: random.Random, frames: Frames) -> Frames:
    """A frame that ends too early."""
    return _changed(chance, frames, lambda frame: frame[: chance.randrange(len(frame) + 1)])


def flipped(chance: random.Random, frames: Frames) -> Frames:
    """A few bits the other way round."""

    def flip(frame: bytes) -> bytes:
        spoilt = bytearray(frame)
        for _ in range(chance.randint(1, 8) if frame else 0):
            spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
        return bytes(spoilt)

    return _changed(chance, frames, flip)


def inserted(chance: random.Random, frames: Frames) -> Frames:
    """Bytes too many in the middle."""

    def insert(frame: bytes) -> bytes:
        at = chance.randrange(len(frame) + 1)
        return frame[:at] + chance.randbytes(chance.randint(1, 9)) + frame[at:]

    return _changed(chance, frames, insert)


def not_text(chance: random.Random, frames: Frames) -> Frames:
    """Letters that are no UTF-8."""

    def spoil(frame: bytes) -> bytes:
        return frame.translate(bytes.maketrans(b"aeinst", b"\xff\xfe\xc3\x80\xf5\xed"))

    return _changed(chance, frames, spoil)


def another_version(chance: random.Random, frames: Frames) -> Frames:
    """Schemas of tomorrow."""
    other = f"/{chance.randint(2, 9)}".encode()
    return [frame.replace(b"ILW1", b"ILW2").replace(b"/1", other) for frame in frames]


def shuffled(chance: random.Random, frames: Frames) -> Frames:
    """The frames in another order."""
    return chance.sample(frames, len(frames))


def dropped(chance: random.Random, frames: Frames) -> Frames:
    """A frame is missing."""
    spoilt = list(frames)
    del spoilt[chance.randrange(len(spoilt))]
    return spoilt or [b""]


def repeated(chance: random.Random, frames: Frames) -> Frames:
    """A frame comes twice."""
    return [*frames, chance.choice(frames)]


def many_frames(chance: random.Random, frames: Frames) -> Frames:
    """Hundreds of frames."""
    return [*frames, *([b"x"] * chance.randint(2, 300))]


def _changed(chance: random.Random, frames: Frames, change: Callable[[bytes], bytes]) -> Frames:
    spoilt = list(frames)
    at = chance.randrange(len(spoilt))
    spoilt[at] = change(spoilt[at])
    return spoilt


def _spoilt_value(chance: random.Random, value: Any) -> Any:
    """One entry changed, left out or added, at any depth."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        what = chance.random()
        if what < 0.05:
            return {name: item for name, item in value.items() if name != key}
        if what < 0.1:
            return {**value, "more": _bad(chance)}
        return {**value, key: _spoilt_value(chance, value[key])}
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        return [*value[:at], _spoilt_value(chance, value[at]), *value[at + 1 :]]
    return _bad(chance)


def _bad(chance: random.Random) -> Any:
    return _DEEP if chance.random() < 0.05 else chance.choice(BAD_VALUES)
