"""Malformed messages against everything that reads: refused, or sound after all, never worse."""

from __future__ import annotations

import random

import pytest

from benchmarks import fuzz_sparkplug
from benchmarks.fuzz_samples import TOPICS, refusals, samples, series
from benchmarks.malformed import BAD_VALUES, DEPTH, Json, Malformed, MessagePack
from pipeline.line import CHANNELS
from pipeline.messages import Part
from plc.sparkplug.wire import WireError

SESSION = "20261122-071502-3f9a"
NAMES = (*CHANNELS, "beat", "order", *TOPICS)
MESSAGES = 10_000


@pytest.mark.parametrize("name", NAMES)
def test_10000_malformed_messages_are_refused_or_sound(name: str) -> None:
    """Anything but a refusal, such as an exception that nobody expects, ends this test."""
    spoilt = series(3, SESSION, random.Random(name))[name]
    refused = refusals(3, SESSION)[name]
    count = sum(refused(spoilt.next()) for _ in range(MESSAGES))
    assert 0.8 * MESSAGES < count < MESSAGES, "some are sound: else the samples would not be"


@pytest.mark.parametrize("name", fuzz_sparkplug.MESSAGES)
def test_10000_malformed_messages_of_sparkplug_are_refused_or_sound(name: str) -> None:
    """More of them are sound: protobuf leaves out what it does not know."""
    spoilt = fuzz_sparkplug.series(SESSION, random.Random(name))[name]
    refused = fuzz_sparkplug.refusals()[name]
    count = sum(refused(spoilt.next()) for _ in range(MESSAGES))
    assert 0.5 * MESSAGES < count < 0.95 * MESSAGES


def test_every_channel_has_its_sample() -> None:
    assert {message.channel for message in samples(Part(3, SESSION, 1))} == set(CHANNELS)


def test_the_same_seed_gives_the_same_messages() -> None:
    def some(seed: int) -> list[list[bytes]]:
        made = Malformed(random.Random(seed), [[b"ILW1", b"\x81\xa1a\x01", b"pixels"]])
        return [made.next() for _ in range(200)]

    assert some(1) == some(1)
    assert some(1) != some(2)


@pytest.mark.parametrize("notation", [MessagePack(), Json()])
def test_wrong_values_are_written_as_they_are(notation: MessagePack | Json) -> None:
    for value in BAD_VALUES:
        written = notation.read(notation.write({"value": value}))["value"]
        assert str(written) == str(value)
    with pytest.raises(RecursionError):
        notation.read(notation.write({"value": "nested deeply here"}))
    assert DEPTH > 1000


def test_values_of_sparkplug_are_written_in_their_types() -> None:
    notation = fuzz_sparkplug.SparkplugB()
    for value in BAD_VALUES:
        if isinstance(value, list | dict):
            with pytest.raises(WireError, match="neither a number"):
                notation.read(notation.write({"timestamp": 7, "metrics": [["value", value]]}))
            continue
        written = notation.read(notation.write({"timestamp": 7, "metrics": [["value", value]]}))
        expected = value % 2**64 if type(value) is int else value
        assert str(written) == str({"timestamp": 7, "metrics": [["value", expected]]})
