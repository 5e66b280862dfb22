"""Framing: what goes in comes out without a copy, and damage is an error of one message."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline.errors import WireError
from pipeline.line import CHANNELS
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
from pipeline.wire import (
    MAGIC,
    Decoder,
    Encoder,
)

Until = Callable[[Callable[[], object]], None]
PART = Part(3, "20261122-071502-3f9a", 7)
STAMPS = (Stamp("acquisition", 1, 2), Stamp("preprocessing", 3, 4))
DEFECTS = (Defect(1, 2, 3, 4, 12, 0.75),)
KINDS = [channel.kind for channel in CHANNELS.values()]


def bytes_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def halves(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).uniform(-1, 1, shape).astype(np.float16)


MESSAGES: dict[str, Message] = {
    "announcement": Announcement(PART, 1, 2, 3, "camera", Truth(True, "scratch")),
    "announcement without truth": Announcement(PART, 1, 2, 3, "ümläut"),
    "captured": CapturedFrame(PART, 9, bytes_of(40, 50), STAMPS),
    "captured colour 16 bit": CapturedFrame(PART, 9, bytes_of(40, 50, 3).astype(np.uint16) << 4),
    "captured empty": CapturedFrame(PART, 9, bytes_of(0, 50)),
    "captured strided": CapturedFrame(PART, 9, bytes_of(40, 50)[::2, 1:]),
    "prepared": PreparedFrame(PART, 9, bytes_of(32, 32, 1), bytes_of(20, 30, 1), STAMPS),
    "reconstructed": ReconstructedFrame(
        PART, 9, "b" * 12, bytes_of(32, 32, 3), bytes_of(20, 30, 3), halves(32, 32, 3), STAMPS
    ),
    "result": InspectionResult(
        PART, "b", 0.25, DEFECTS, bytes_of(9, 9, 1), bytes_of(8, 8, 1), halves(8, 8), STAMPS
    ),
    "failure": Failure(PART, Reason.FRAME_BLACK, "dark", "preprocessing", bytes_of(0, 0, 1)),
    "evidence": Evidence(
        PART, Verdict.REJECT, DEFECTS, bytes_of(9, 9, 3), bytes_of(8, 8, 3), halves(8, 8)
    ),
}


def encoded(message: Message) -> list[bytes]:
    """Frames as they come off a socket."""
    return [bytes(memoryview(frame).cast("B")) if isinstance(frame, np.ndarray) and frame.size
            else bytes(frame) for frame in Encoder().encode(message)]  # fmt: skip


def fields(message: Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__struct_fields__}


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_comes_out_as_it_went_in(name: str) -> None:
    message = MESSAGES[name]
    read = Decoder([type(message)]).decode(encoded(message))
    assert type(read) is type(message)
    for key, value in fields(message).items():
        got = getattr(read, key)
        if isinstance(value, np.ndarray):
            assert got.dtype == value.dtype
            np.testing.assert_array_equal(got, value)
        else:
            assert got == value


def test_every_kind_of_message_is_tried() -> None:
    assert {type(message) for message in MESSAGES.values()} == set(KINDS)
    assert {name: channel.kind.channel for name, channel in CHANNELS.items()} == {
        name: name for name in CHANNELS
    }


@pytest.mark.parametrize("name", ["captured", "prepared", "reconstructed", "result", "evidence"])
def test_arrays_are_views_of_the_frames_that_nobody_can_write_to(name: str) -> None:
    message = MESSAGES[name]
    frames = encoded(message)
    read = Decoder([type(message)]).decode(frames)
    buffers = [np.frombuffer(frame, np.uint8) for frame in frames[2:]]
    assert len(buffers) == len(message.arrays)
    for array in message.arrays:
        assert any(np.shares_memory(getattr(read, array), buffer) for buffer in buffers)
        with pytest.raises(ValueError, match="read-only"):
            getattr(read, array)[...] = 0


def test_contiguous_arrays_are_not_copied_for_sending() -> None:
    message = MESSAGES["reconstructed"]
    frames = Encoder().encode(message)
    for array in message.arrays:
        assert any(
            np.shares_memory(getattr(message, array), frame)
            for frame in frames
            if isinstance(frame, np.ndarray)
        )


# Damage ------------------------------------------------------------------------------------------


def header(**changes: Any) -> bytes:
    """The header of a captured frame of (2, 3) bytes with other entries."""
    entries = {
        "schema": "captured/1",
        "part": PART,
        "deadline_monotonic_ns": 9,
        "image": {"dtype": "uint8", "shape": [2, 3]},
        "stamps": [],
    }
    return msgspec.msgpack.encode({**entries, **changes})


def image(dtype: str = "uint8", shape: list[Any] | None = None, **more: Any) -> bytes:
    return header(image={"dtype": dtype, "shape": shape or [2, 3], **more})


IDENTITY = MAGIC + msgspec.msgpack.encode(PART)
PIXELS = bytes(6)
NESTED = b"\x91" * 5000 + b"\x90"
WITHOUT_PART = {
    "nothing at all": [],
    "an empty frame": [b""],
    "a foreign magic": [b"HTTP/1.1", header(), PIXELS],
    "another version of the framing": [b"ILW2" + IDENTITY[4:], header(), PIXELS],
    "only the magic": [MAGIC, header(), PIXELS],
    "an identity cut short": [IDENTITY[:-1], header(), PIXELS],
    "an identity of other fields": [MAGIC + msgspec.msgpack.encode({"a": 1}), header(), PIXELS],
    "an identity that is no text": [IDENTITY.replace(b"20", b"\xff\xfe"), header(), PIXELS],
}  # fmt: skip
WITH_PART = {
    "no header": [IDENTITY],
    "an empty header": [IDENTITY, b"", PIXELS],
    "a header cut short": [IDENTITY, header()[:-1], PIXELS],
    "a header that is no text": [IDENTITY, header().replace(b"int8", b"\xff" * 4), PIXELS],
    "an unknown schema": [IDENTITY, header(schema="picture/1"), PIXELS],
    "an unknown version": [IDENTITY, header(schema="captured/2"), PIXELS],
    "another channel's schema": [IDENTITY, header(schema="prepared/1"), PIXELS],
    "a header nested endlessly": [IDENTITY, header(image="@").replace(b"\xa1@", NESTED), PIXELS],
    "a huge header": [IDENTITY, header(more="x" * (5 << 20)), PIXELS],
    "a time before all time": [IDENTITY, header(deadline_monotonic_ns=-1), PIXELS],
    "a time after all time": [IDENTITY, header(deadline_monotonic_ns=2**63), PIXELS],
    "an unknown field": [IDENTITY, header(more=1), PIXELS],
    "a wrong type": [IDENTITY, header(deadline_monotonic_ns="soon"), PIXELS],
    "another part than the identity": [IDENTITY, header(part=Part(3, PART.session, 8)), PIXELS],
    "another session than the identity": [IDENTITY, header(part=Part(3, "x", 7)), PIXELS],
    "no buffer": [IDENTITY, header()],
    "a short buffer": [IDENTITY, header(), PIXELS[1:]],
    "a long buffer": [IDENTITY, header(), PIXELS + b"x"],
    "a surplus buffer": [IDENTITY, header(), PIXELS, b"x"],
    "an array in the header": [IDENTITY, header(image=[1, 2])],
    "no array at all": [IDENTITY, header(image=None), PIXELS],
    "a wrong dtype": [IDENTITY, image("float32", [3]), bytes(12)],
    "a dtype of another message": [IDENTITY, image("float16", [3]), PIXELS],
    "an object dtype": [IDENTITY, image("O", [1]), bytes(8)],
    "a structured dtype": [IDENTITY, image("u1,u1", [3]), PIXELS],
    "a dtype with a syntax error": [IDENTITY, image("(,,)u1,u1", [1]), PIXELS],
    "a dtype without size": [IDENTITY, image("S0", [6]), b""],
    "a negative shape": [IDENTITY, image("uint8", [-2, -3]), PIXELS],
    "a shape of another size": [IDENTITY, image("uint8", [3, 3]), PIXELS],
    "a shape beyond all memory": [IDENTITY, image("uint8", [0, 2**63]), b""],
    "a shape of a hundred dimensions": [IDENTITY, image("uint8", [1] * 100), b"x"],
    "a shape that is no number": [IDENTITY, image("uint8", ["2", 3]), PIXELS],
    "an array with further entries": [IDENTITY, image("uint8", [2, 3], order="F"), PIXELS],
}  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT_PART)
def test_a_message_without_legible_identity_is_nobodys(name: str) -> None:
    with pytest.raises(WireError) as caught:
        Decoder([CapturedFrame]).decode(WITHOUT_PART[name])
    assert caught.value.part is None


@pytest.mark.parametrize("name", WITH_PART)
def test_a_damaged_message_still_names_its_part(name: str) -> None:
    with pytest.raises(WireError) as caught:
        Decoder([CapturedFrame]).decode(WITH_PART[name])
    assert caught.value.part == PART


def test_the_frames_that_are_damaged_above_are_otherwise_sound() -> None:
    read = Decoder([CapturedFrame]).decode([IDENTITY, header(), PIXELS])
    assert isinstance(read, CapturedFrame)
    assert read.image.shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "array", "wrong"),
    [
        ("prepared", "image", bytes_of(32, 32)),
        ("prepared", "view", bytes_of(32, 32, 1).astype(np.uint16)),
        ("reconstructed", "reconstruction", halves(32, 32)),
        ("reconstructed", "reconstruction", halves(32, 32, 3).astype(np.float32)),
        ("result", "anomaly_map", halves(8, 8, 1)),
        ("evidence", "anomaly_map", bytes_of(8, 8)),
        ("failure", "view", bytes_of(0, 0)),
    ],
)
def test_wrong_arrays_of_a_sender_are_refused(name: str, array: str, wrong: np.ndarray) -> None:
    message = msgspec.structs.replace(MESSAGES[name], **{array: wrong})
    with pytest.raises(WireError) as caught:
        Decoder([type(message)]).decode(encoded(message))
    assert caught.value.part == PART


@pytest.mark.parametrize(
    "wrong",
    [
        {"defects": (Defect(1, 2, 3, 4, 12, float("nan")),)},
        {"defects": (Defect(-1, 2, 3, 4, 12, 0.5),)},
        {"defects": (Defect(1, 2, 3, 4, 2**63, 0.5),)},
        {"stamps": (Stamp("acquisition", -1, 2),)},
        {"bundle_id": "b" * 1000},
        {"part": Part(3, "20261122", 2**63)},
        {"part": Part(3, "x" * 65, 7)},
    ],
)
def test_values_that_no_record_can_hold_are_refused(wrong: dict[str, Any]) -> None:
    """A NaN in JSON is null: the ledger's own line could not be read again."""
    message = msgspec.structs.replace(MESSAGES["result"], **wrong)
    with pytest.raises(WireError):
        Decoder([InspectionResult]).decode(encoded(message))


def test_only_declared_types_are_read() -> None:
    with pytest.raises(WireError, match="header cannot be read"):
        Decoder([PreparedFrame]).decode(encoded(MESSAGES["captured"]))


def test_objects_cannot_be_sent() -> None:
    with pytest.raises(AssertionError, match="cannot cross a process boundary"):
        Encoder().encode(CapturedFrame(PART, 9, object()))


def mutated(frames: list[bytes], chance: random.Random) -> list[bytes]:
    """The frames of a message with some of them cut, flipped, swapped, repeated or replaced."""
    spoilt = list(frames)
    for _ in range(chance.randint(1, 3)):
        if not spoilt:
            return spoilt
        at = chance.randrange(len(spoilt))
        frame = bytearray(spoilt[at])
        match chance.randrange(7):
            case 0:
                spoilt[at] = bytes(frame[: chance.randrange(len(frame) + 1)])
            case 1:
                for _ in range(chance.randint(1, 8)):
                    if frame:
                        frame[chance.randrange(len(frame))] = chance.randrange(256)
                spoilt[at] = bytes(frame)
            case 2:
                spoilt[at] = chance.randbytes(chance.randrange(64))
            case 3:
                chance.shuffle(spoilt)
            case 4:
                spoilt.append(spoilt[at])
            case 5:
                del spoilt[at]
            case _:
                where = chance.randrange(len(frame) + 1)
                spoilt[at] = bytes(frame[:where] + chance.randbytes(4) + frame[where:])
    return spoilt


def test_20000_damaged_messages_give_a_wire_error_or_a_sound_message() -> None:
    chance = random.Random(20261122)
    every = Decoder(KINDS)
    own = [(encoded(message), Decoder([type(message)])) for message in MESSAGES.values()]
    refused = 0
    for _ in range(20_000):
        sound, decoder = chance.choice(own)
        frames = mutated(sound, chance)
        try:
            message = chance.choice([decoder, every]).decode(frames)
        except WireError:
            refused += 1
        else:
            for array, (dtypes, _) in message.arrays.items():
                assert getattr(message, array).dtype.name in dtypes.split("|")
    assert 10_000 < refused < 19_500
