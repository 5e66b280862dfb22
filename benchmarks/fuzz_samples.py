"""What a line's sockets and topics carry, to be spoilt, and what a line has to refuse of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from benchmarks.malformed import Frames, Json, Malformed
from pipeline.control import Beat, Command, LineOrder, LineState, Request, StageReport, Transition
from pipeline.errors import WireError
from pipeline.line import CHANNELS, TABLE
from pipeline.messages import (
    Announcement,
    CapturedFrame,
    Defect,
    Evidence,
    Failure,
    InspectionResult,
    Message,
    Part,
    PreparedFrame,
    Reason,
    ReconstructedFrame,
    Stamp,
    Truth,
    Verdict,
)
from pipeline.wire import MAGIC, Decoder, Encoder, control_message
from plc.incoming import AckPayload, BadCommandError, CommandPayload, read_ack, read_command

Refusal = Callable[[Frames], bool]
"""Whether a line has to refuse a message."""
TOPICS = ("command", "ack")
MOST_PAYLOAD = 20_000
"""Bytes too many in what goes through a broker, which has limits of its own."""
_PICTURE = np.full((8, 8, 1), 128, np.uint8)
_HALVES = np.full((8, 8, 1), 0.5, np.float16)
_STAMPS = (Stamp("acquisition", 1, 2), Stamp("preprocessing", 3, 4))
_DEFECTS = (Defect(1, 2, 3, 4, 12, 0.75),)


def series(line: int, session: str, chance: random.Random) -> dict[str, Malformed]:
    """A series of spoilt messages for each channel, for `beat`, `order` and the MQTT topics.

    They are about part 1 of the session, which has its verdict, or of another session.
    """
    parts = (Part(line, session, 1), Part(line, "20200101-000000-0000", 1))
    sound = {
        name: [
            encoded(message)
            for part in parts
            for message in samples(part)
            if message.channel == name
        ]
        for name in CHANNELS
    }
    headers = [frames[1:2] for group in sound.values() for frames in group]
    control = {"beat": _beat(session), "order": _order(session)}
    said = {
        "command": [_said(item) for item in _commands()],
        "ack": [_said(AckPayload(session, 1))],
    }
    return {
        **{name: Malformed(chance, own, _others(sound, name)) for name, own in sound.items()},
        **{
            name: Malformed(chance, [[msgspec.msgpack.encode(own)]], headers, header=0)
            for name, own in control.items()
        },
        **{
            name: Malformed(chance, own, _others(said, name), Json(), 0, MOST_PAYLOAD)
            for name, own in said.items()
        },
    }


def refusals(line: int, session: str) -> dict[str, Refusal]:
    """What each channel, `beat`, `order` and the MQTT topics have to refuse."""
    return {
        **{name: _on_channel(name, line, session) for name in CHANNELS},
        "beat": _beats(session),
        "order": _orders(),
        "command": _is_no_command,
        "ack": lambda frames: read_ack(b"".join(frames)) is None,
    }


def samples(part: Part) -> tuple[Message, ...]:
    """One message of each kind about a part."""
    now_ns = time.monotonic_ns()
    late_ns = now_ns + 3_600_000_000_000
    names = "fuzz", "preprocessing"
    return (
        Announcement(part, now_ns, time.time_ns(), late_ns, names[0], Truth(True, "scratch")),
        CapturedFrame(part, late_ns, _PICTURE[:, :, 0], _STAMPS[:1]),
        PreparedFrame(part, late_ns, _PICTURE, _PICTURE, _STAMPS),
        ReconstructedFrame(part, late_ns, "b", _PICTURE, _PICTURE, _HALVES, _STAMPS),
        InspectionResult(part, "b", 0.25, _DEFECTS, _PICTURE, _PICTURE, _HALVES[:, :, 0], _STAMPS),
        Failure(part, Reason.STAGE_FAULT, "fuzz", names[1], _PICTURE, _STAMPS),
        Evidence(part, Verdict.REJECT, _DEFECTS, _PICTURE, _PICTURE, _HALVES[:, :, 0]),
    )


def encoded(message: Message) -> Frames:
    """A message as the bytes of its frames."""
    return [
        frame.tobytes() if isinstance(frame, np.ndarray) else frame
        for frame in Encoder().encode(message)
    ]


def part_of(frames: Frames) -> Part:
    """The part that a sound message is about."""
    return msgspec.msgpack.decode(frames[0][len(MAGIC) :], type=Part)


def _others(groups: dict[str, list[Frames]], name: str) -> list[Frames]:
    return [frames for other, group in groups.items() if other != name for frames in group]


def _on_channel(name: str, line: int, session: str) -> Refusal:
    decoder = Decoder([CHANNELS[name].kind])

    def refused(frames: Frames) -> bool:
        try:
            part = decoder.decode(frames).part
        except WireError:
            return True
        return (part.line, part.session) != (line, session)

    return refused


def _beats(session: str) -> Refusal:
    decoder = msgspec.msgpack.Decoder(Beat)
    stages = {row.name for row in TABLE}

    def refused(frames: Frames) -> bool:
        try:
            beat = control_message(frames, decoder, "beat")
        except WireError:
            return True
        return beat.session != session or beat.stage not in stages or beat.worker != 0

    return refused


def _orders() -> Refusal:
    decoder = msgspec.msgpack.Decoder(LineOrder)

    def refused(frames: Frames) -> bool:
        try:
            control_message(frames, decoder, "order")
        except WireError:
            return True
        return False

    return refused


def _is_no_command(frames: Frames) -> bool:
    try:
        read_command(b"".join(frames), 0)
    except BadCommandError:
        return True
    return False


def _beat(session: str) -> Beat:
    report = StageReport(3, 2, requests=(Request("fuzz", Command.NEXT_BATCH, batch="B-1"),))
    counts = {"result": 3}, {"evidence": 1}, 0, 0, 0, 50.0
    return Beat("decision", 0, 1, session, True, True, *counts, report=report)


def _order(session: str) -> LineOrder:
    told = (Transition(1, LineState.RUNNING, "ready", 1),)
    return LineOrder(session, LineState.RUNNING, "ready", 1, capture=True, transitions=told)


def _commands() -> Sequence[CommandPayload]:
    return (
        CommandPayload("fuzz-1", Command.PAUSE),
        CommandPayload("fuzz-2", Command.SELECT_RECIPE, recipe="default"),
        CommandPayload("fuzz-3", Command.SET_ENCODER, position=412.04, speed=250.0),
    )


def _said(payload: Any) -> Frames:
    return [msgspec.json.encode(payload)]
