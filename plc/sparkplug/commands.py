"""What PLC and MES write to the line's metrics (DCMD, NCMD), as requests and acknowledgements."""

from __future__ import annotations

import zlib

import msgspec

from pipeline.control import Command, Request
from plc.incoming import MOST_BYTES, AckPayload, BadCommandError, read_ack, read_command
from plc.sparkplug.metrics import ACK, COMMAND, COMMAND_ID, POSITION, REBIRTH, SPEED, WRITABLE
from plc.sparkplug.wire import DataType, Received, Scalar, WireError, decode_payload

_TYPES: dict[str, type] = {
    metric.name: {
        DataType.BOOLEAN: bool,
        DataType.DOUBLE: float,
        DataType.STRING: str,
        DataType.UINT64: int,
    }[metric.datatype]
    for metric in WRITABLE
}
_KEYS = {
    "command/select_recipe": (Command.SELECT_RECIPE, "recipe"),
    "command/next_batch": (Command.NEXT_BATCH, "batch"),
    POSITION: (Command.SET_ENCODER, "position"),
    SPEED: (Command.SET_ENCODER, "speed"),
}
"""Metrics with a value of the command: which one, and the key that it has in JSON."""


def wants_rebirth(data: bytes) -> bool:
    """Whether an NCMD asks for the births. Raises WireError where it is not readable."""
    return (REBIRTH, True) in _decoded(data).values


def is_ack(data: bytes) -> bool:
    """Whether a DCMD is an acknowledgement, and no command."""
    try:
        names = [name for name, _ in _decoded(data).values]
    except WireError:
        return False
    return bool(names) and all(name.startswith(ACK) for name in names)


def says_nothing(data: bytes) -> bool:
    """Whether a DCMD only takes a button back: `command/start` false asks for nothing."""
    try:
        values = _decoded(data).values
    except WireError:
        return False
    named = [(name, value) for name, value in values if name != COMMAND_ID]
    return bool(named) and all(name in _BUTTONS and value is False for name, value in named)


def read_device_ack(data: bytes) -> AckPayload | None:
    """The acknowledgement in a DCMD, None where it is none."""
    try:
        values = dict(_decoded(data).values)
        _check_types(values)
    except WireError:
        return None
    said = {name.removeprefix(ACK): value for name, value in values.items()}
    return read_ack(msgspec.json.encode({"schema": "inspection.ack/1", **said}))


def read_device_command(data: bytes, at_monotonic_ns: int) -> Request:
    """The command in a DCMD as a request. Raises BadCommandError, with a reason for the sender.

    Without a metric `command/id` the time of sending and the bytes make the id, so that the same
    message twice acts once.
    """
    id_: str | None = None
    command: str | None = None
    try:
        received = _decoded(data)
        values = dict(received.values)
        id_ = _id(received, data)
        _check_types(values)
        command, said = _said(values)
    except WireError as error:
        raise BadCommandError(str(error), id_, command) from error
    json = {"schema": "inspection.command/1", "id": id_, "command": command, **said}
    return read_command(msgspec.json.encode(json), at_monotonic_ns)


def _decoded(data: bytes) -> Received:
    if len(data) > MOST_BYTES:
        raise WireError(f"{len(data)} bytes; a command has at most {MOST_BYTES}")
    return decode_payload(data)


def _id(received: Received, data: bytes) -> str:
    given = dict(received.values).get(COMMAND_ID)
    if isinstance(given, str) and 1 <= len(given) <= 64:
        return given
    if given is not None:
        raise WireError(f"{COMMAND_ID} is a text of 1 to 64 characters")
    if received.timestamp_ms is None:
        raise WireError(f"the command has neither a timestamp nor {COMMAND_ID}")
    return f"dcmd-{received.timestamp_ms}-{zlib.crc32(data):08x}"


def _check_types(values: dict[str, Scalar | None]) -> None:
    for name, value in values.items():
        if name not in _TYPES:
            raise WireError(f"nobody can write {name!r}; see the line's DBIRTH")
        if value is not None and type(value) is not _TYPES[name]:
            raise WireError(f"{name} has a value of another type than in the line's DBIRTH")


def _said(values: dict[str, Scalar | None]) -> tuple[str, dict[str, Scalar | None]]:
    """The one command that a message's metrics make, with its values by their keys in JSON."""
    commands: set[str] = set()
    said: dict[str, Scalar | None] = {}
    for name, value in values.items():
        if name in _KEYS:
            command, key = _KEYS[name]
            commands.add(command)
            said[key] = value
        elif name in _BUTTONS and value is True:
            commands.add(name.removeprefix(COMMAND))
        elif name.startswith(ACK):
            raise WireError("an acknowledgement is a message of its own")
    if len(commands) != 1:
        named = " and ".join(sorted(commands)) or "none"
        raise WireError(f"one message is one command; this one has {named}")
    return commands.pop(), said


_BUTTONS = tuple(metric.name for metric in WRITABLE if metric.datatype is DataType.BOOLEAN)
