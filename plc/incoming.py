"""What the PLC writes: commands and acknowledgements, checked like everything from outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from pipeline.control import Command, Encoder, Request

MOST_BYTES = 4096
Id = Annotated[str, Meta(min_length=1, max_length=64, description="Your own; one id acts once.")]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Speed = Annotated[float, Meta(ge=0)]


class CommandPayload(
    Struct,
    frozen=True,
    rename="camel",
    tag_field="schema",
    tag="inspection.command/1",
    forbid_unknown_fields=True,
):
    """What the line shall do, on topic `command`: QoS 1, never retained."""

    id: Id
    command: Command
    recipe: Annotated[Name | None, Meta(description="For select_recipe.")] = None
    batch: Annotated[Name | None, Meta(description="For next_batch.")] = None
    position: Annotated[
        float | None, Meta(description="For set_encoder: of the belt, in the encoder's units.")
    ] = None
    speed: Annotated[
        Speed | None, Meta(description="For set_encoder: in units per second; 0 stands.")
    ] = None


class AckPayload(
    Struct,
    frozen=True,
    rename="camel",
    tag_field="schema",
    tag="inspection.ack/1",
    forbid_unknown_fields=True,
):
    """The PLC has acted upon a reject, on topic `ack`: QoS 1, never retained."""

    session: Annotated[str, Meta(description="As the reject says.")]
    sequence: Annotated[int, Meta(ge=1, description="Of the part that was acted upon.")]


class BadCommandError(ValueError):
    """A command that cannot be read; `id` and `command` as far as they were legible."""

    def __init__(self, reason: str, id_: str | None, command: str | None) -> None:
        super().__init__(reason)
        self.id, self.command = id_, command


class _Legible(Struct, frozen=True):
    id: Id | None = None
    command: Name | None = None


_command = msgspec.json.Decoder(CommandPayload)
_ack = msgspec.json.Decoder(AckPayload)
_legible = msgspec.json.Decoder(_Legible)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises: for text that is not UTF-8, and for what is nested too deeply, it is no
MsgspecError."""
VALUES = ("recipe", "batch", "position", "speed")
NEEDS: dict[Command, tuple[str, ...]] = {
    Command.SELECT_RECIPE: ("recipe",),
    Command.NEXT_BATCH: ("batch",),
    Command.SET_ENCODER: ("position", "speed"),
}
"""The values of each command; it may have no others of `VALUES`."""


def read_command(data: bytes, at_monotonic_ns: int) -> Request:
    """A command as a request; an encoder's position is that of the moment of its arrival.

    Raises BadCommandError, with a reason for the one who sent it.
    """
    if len(data) > MOST_BYTES:
        raise BadCommandError(f"{len(data)} bytes; a command has at most {MOST_BYTES}", None, None)
    try:
        payload = _command.decode(data)
    except _UNREADABLE as error:
        raise _bad(data, str(error)) from error
    given = tuple(key for key in VALUES if getattr(payload, key) is not None)
    try:
        check_values(payload.command, given)
    except ValueError as error:
        raise BadCommandError(str(error), payload.id, payload.command) from error
    return Request(
        id=payload.id,
        command=payload.command,
        recipe=payload.recipe or "",
        batch=payload.batch or "",
        encoder=_encoder(payload, at_monotonic_ns),
    )


def check_values(command: Command, given: Sequence[str]) -> None:
    """Whether a command has the values that belong to it and no others. Raises ValueError."""
    needed = NEEDS.get(command, ())
    if set(given) != set(needed):
        wanted = " and ".join(needed) or "nothing more"
        raise ValueError(f"{command} needs {wanted}, and has {' and '.join(given) or 'nothing'}")


def read_ack(data: bytes) -> AckPayload | None:
    """An acknowledgement, None where it is none."""
    try:
        return _ack.decode(data) if len(data) <= MOST_BYTES else None
    except _UNREADABLE:
        return None


def _encoder(payload: CommandPayload, at_monotonic_ns: int) -> Encoder | None:
    if payload.position is None or payload.speed is None:
        return None
    if not (math.isfinite(payload.position) and math.isfinite(payload.speed)):
        reason = "position and speed must be finite"
        raise BadCommandError(reason, payload.id, payload.command)
    return Encoder(payload.position, payload.speed, at_monotonic_ns)


def _bad(data: bytes, reason: str) -> BadCommandError:
    try:
        legible = _legible.decode(data)
    except _UNREADABLE:
        return BadCommandError(reason, None, None)
    return BadCommandError(reason, legible.id, legible.command)
