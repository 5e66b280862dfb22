"""Sockets and framing: the only module that knows ZeroMQ.

A message is a multipart: the magic and the part's identity, the header, then one frame per array.
The identity stands by itself so that a damaged header still costs only the part that it names.

Producers bind one socket per channel and worker, consumers connect to all of a channel's
producers: any number of workers on both sides, no proxy, and either side may be restarted.
Everything is bounded; a full socket says so and is never waited for here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import zmq

from pipeline.bell import Bell
from pipeline.control import Beat, LineOrder
from pipeline.errors import WireError
from pipeline.messages import Message, Part

T = TypeVar("T")
MAGIC = b"ILW1"
_READABLE, _WRITABLE = int(zmq.POLLIN), int(zmq.POLLOUT)
"""As plain numbers, which are looked at some hundred times a second."""
_ZERO_COPY_FROM_BYTES = 16_384
_MOST_ARRAY_BYTES = 1 << 30
_MOST_HEADER_BYTES = 1 << 22
_MOST_IDENTITY_BYTES = 1 << 10
MOST_ORDERS = 1000
"""Orders that are read at once; more than a supervisor says while a stage computes."""
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec raises for damaged bytes: for text that is not UTF-8, and for what is nested too
deeply, it is no MsgspecError."""


class _ArrayHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[int, ...]


class Encoder:
    """Turns messages into frames. Not for use by two threads at once."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []
        self._header = msgspec.msgpack.Encoder(enc_hook=self._describe)
        self._part = msgspec.msgpack.Encoder()

    def encode(self, message: Message) -> list[bytes | np.ndarray]:
        """Frames of a message; the arrays are not copied if they are contiguous."""
        self._arrays.clear()
        header = self._header.encode(message)
        return [MAGIC + self._part.encode(message.part), header, *self._arrays]

    def _describe(self, value: Any) -> _ArrayHeader:
        assert isinstance(value, np.ndarray), f"{type(value)} cannot cross a process boundary"
        self._arrays.append(np.ascontiguousarray(value))
        return _ArrayHeader(value.dtype.name, value.shape)


class Decoder:
    """Turns frames into messages of the given types. Not for use by two threads at once."""

    def __init__(self, types: Sequence[type[Message]]) -> None:
        union: Any = reduce(or_, types)
        self._buffers: list[Any] = []
        declared = [dtypes for kind in types for dtypes, _ in kind.arrays.values()]
        self._dtypes = frozenset("|".join(declared).split("|"))
        self._header = msgspec.msgpack.Decoder(union, dec_hook=self._restore)
        self._descriptor = msgspec.msgpack.Decoder(_ArrayHeader)
        self._part = msgspec.msgpack.Decoder(Part)

    def decode(self, frames: Sequence[Any]) -> Message:
        """The message; its arrays are read-only views of the frames.

        Raises WireError for a foreign magic, an unknown schema, values out of range, a missing,
        short or surplus buffer, and a wrong dtype or number of dimensions; it names the part where
        that is legible.
        """
        part = self._identity(frames)
        if len(frames[1]) > _MOST_HEADER_BYTES:
            raise WireError(f"a header of {len(frames[1])} bytes is none", part)
        self._buffers = list(reversed(frames[2:]))
        try:
            message: Message = self._header.decode(frames[1])
        except _UNREADABLE as error:
            raise WireError(f"header cannot be read: {error}", part) from error
        if self._buffers:
            raise WireError(f"{len(self._buffers)} frames more than the header names", part)
        if message.part != part:
            raise WireError("header and identity name different parts", part)
        _check_arrays(message, part)
        return message

    def _identity(self, frames: Sequence[Any]) -> Part:
        first = bytes(frames[0][:_MOST_IDENTITY_BYTES]) if frames else b""
        if not first.startswith(MAGIC):
            raise WireError(f"not a message of this line: it begins with {first[:8]!r}")
        try:
            part = self._part.decode(first[len(MAGIC) :])
        except _UNREADABLE as error:
            raise WireError(f"the part's identity cannot be read: {error}") from error
        if len(frames) < 2:
            raise WireError("the header is missing", part)
        return part

    def _restore(self, kind: type, value: Any) -> np.ndarray:
        assert kind is np.ndarray, f"{kind} is not declared as an array"
        header = msgspec.convert(value, _ArrayHeader)
        if not self._buffers:
            raise ValueError("an array's frame is missing")
        buffer = memoryview(self._buffers.pop()).toreadonly()
        sizes_fit = all(0 <= size <= _MOST_ARRAY_BYTES for size in header.shape)
        if header.dtype not in self._dtypes or not sizes_fit:
            raise ValueError(f"array of {header.dtype} {header.shape} is not allowed")
        dtype = np.dtype(header.dtype)
        expected = math.prod(header.shape) * dtype.itemsize
        if expected != buffer.nbytes or expected > _MOST_ARRAY_BYTES:
            raise ValueError(f"array of {expected} bytes announced, {buffer.nbytes} received")
        return np.frombuffer(buffer, dtype=dtype).reshape(header.shape)


def _check_arrays(message: Message, part: Part) -> None:
    for name, (dtypes, dimensions) in message.arrays.items():
        array: np.ndarray = getattr(message, name)
        if array.dtype.name not in dtypes.split("|"):
            raise WireError(f"{name} is {array.dtype.name}, expected {dtypes}", part)
        if dimensions and array.ndim != dimensions:
            raise WireError(f"{name} has {array.ndim} dimensions, expected {dimensions}", part)


def endpoint(run_dir: Path, stage: str, worker: int, channel: str) -> str:
    """Address of the socket on which one worker offers one channel."""
    return f"ipc://{run_dir}/{stage}.{worker}.{channel}"


class Outlet:
    """Where a worker offers the messages of one channel."""

    def __init__(self, context: zmq.Context[Any], address: str, capacity: int) -> None:
        self._socket: Any = context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, capacity)
        self._socket.setsockopt(zmq.LINGER, 1000)
        self._socket.bind(address)
        self._encoder = Encoder()

    @property
    def socket(self) -> Any:
        """The socket, for a poller."""
        return self._socket

    def send(self, message: Message) -> bool:
        """Hand over without waiting; False when there is no room or nobody to take it whole."""
        if not self.room():
            return False
        frames = self._encoder.encode(message)
        last = len(frames) - 1
        whole = True
        for index, frame in enumerate(frames):
            size = frame.nbytes if isinstance(frame, np.ndarray) else len(frame)
            flags = zmq.DONTWAIT | (zmq.SNDMORE if index < last else 0)
            try:
                self._socket.send(frame, flags, copy=size < _ZERO_COPY_FROM_BYTES)
            except zmq.Again:
                if index == 0:
                    return False
                whole = False  # who took the first frames is gone; the socket drops the others
        return whole

    def room(self) -> bool:
        """Whether a message would be taken now."""
        return bool(self._socket.getsockopt(zmq.EVENTS) & _WRITABLE)

    def close(self) -> None:
        """Close; messages that a consumer is about to take still have a second."""
        self._socket.close()


class Inlet:
    """Where a worker takes the messages of one channel from all of its producers."""

    def __init__(
        self,
        context: zmq.Context[Any],
        addresses: Iterable[str],
        capacity: int,
        kind: type[Message],
    ) -> None:
        self._socket: Any = context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.RCVHWM, capacity)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        for address in addresses:
            self._socket.connect(address)
        self._decoder = Decoder([kind])
        self.channel = kind.channel

    @property
    def socket(self) -> Any:
        """The socket, for a poller."""
        return self._socket

    def receive(self) -> Message | None:
        """The next message, or None if there is none now. Raises WireError."""
        if not self._socket.getsockopt(zmq.EVENTS) & _READABLE:  # cheaper than the exception
            return None
        try:
            frames = self._socket.recv_multipart(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return None
        return self._decoder.decode([frame.buffer for frame in frames])

    def close(self) -> None:
        """Close and drop what was not taken."""
        self._socket.close()


class StageControl:
    """A stage's end of the control channel: beats out, orders in."""

    def __init__(self, context: zmq.Context[Any], run_dir: Path) -> None:
        self._beats = context.socket(zmq.PUSH)
        self._beats.setsockopt(zmq.SNDHWM, 8)
        self._beats.setsockopt(zmq.LINGER, 1000)
        self._beats.connect(f"ipc://{run_dir}/control.beats")
        self._orders: Any = context.socket(zmq.SUB)
        self._orders.setsockopt(zmq.LINGER, 0)
        self._orders.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        self._orders.subscribe(b"")
        self._orders.connect(f"ipc://{run_dir}/control.orders")
        self._decoder = msgspec.msgpack.Decoder(LineOrder)
        self.damaged = 0
        """Orders that could not be read."""

    @property
    def socket(self) -> Any:
        """The socket of the orders, for a poller."""
        return self._orders

    def beat(self, beat: Beat) -> bool:
        """Send a beat; False when the supervisor does not take any."""
        try:
            self._beats.send(msgspec.msgpack.encode(beat), zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def order(self) -> LineOrder | None:
        """The newest order that came since the last call; those that are `damaged` are counted."""
        newest = None
        if not self._orders.getsockopt(zmq.EVENTS) & _READABLE:
            return None
        for _ in range(MOST_ORDERS):
            try:
                frames = self._orders.recv_multipart(zmq.DONTWAIT)
                newest = control_message(frames, self._decoder, "order")
            except zmq.Again:
                break
            except WireError:
                self.damaged += 1
        return newest

    def close(self) -> None:
        """Close both sockets; the last beat still has a second."""
        self._beats.close()
        self._orders.close()


class SupervisorControl:
    """The supervisor's end of the control channel: orders out, beats in."""

    def __init__(self, context: zmq.Context[Any], run_dir: Path) -> None:
        self._beats = context.socket(zmq.PULL)
        self._beats.setsockopt(zmq.LINGER, 0)
        self._beats.bind(f"ipc://{run_dir}/control.beats")
        self._orders = context.socket(zmq.PUB)
        self._orders.setsockopt(zmq.LINGER, 0)
        self._orders.bind(f"ipc://{run_dir}/control.orders")
        self._decoder = msgspec.msgpack.Decoder(Beat)

    def order(self, order: LineOrder) -> None:
        """Tell every stage."""
        self._orders.send(msgspec.msgpack.encode(order))

    def beat(self, timeout_ms: int) -> Beat | None:
        """The next beat, or None after the timeout. Raises WireError for one that is damaged."""
        if not self._beats.poll(timeout_ms):
            return None
        return control_message(self._beats.recv_multipart(), self._decoder, "beat")

    def close(self) -> None:
        """Close both sockets."""
        self._beats.close()
        self._orders.close()


def control_message(frames: Sequence[bytes], decoder: msgspec.msgpack.Decoder[T], name: str) -> T:
    """A beat or an order, which is one frame. Raises WireError."""
    if len(frames) != 1 or len(frames[0]) > _MOST_HEADER_BYTES:
        raise WireError(f"{name} cannot be read: {len(frames)} frames, {len(frames[0])} bytes")
    try:
        return decoder.decode(frames[0])
    except _UNREADABLE as error:
        raise WireError(f"{name} cannot be read: {error}") from error


class Sleeper:
    """Sleeps until an order comes, the bell is rung, or one of some sockets has something to do."""

    def __init__(self, control: StageControl, bell: Bell) -> None:
        self._always: list[Any] = [(control.socket, zmq.POLLIN), (bell.fileno(), zmq.POLLIN)]

    def sleep(self, inlets: Iterable[Inlet], outlets: Iterable[Outlet], timeout_ms: int) -> None:
        """Until an inlet has a message or an outlet has room, at the longest."""
        messages = [(inlet.socket, zmq.POLLIN) for inlet in inlets]
        room = [(outlet.socket, zmq.POLLOUT) for outlet in outlets]
        zmq.zmq_poll([*self._always, *messages, *room], timeout_ms)


def new_context() -> zmq.Context[Any]:
    """The sockets' context of this process; one input/output thread carries a camera line."""
    return zmq.Context()
