"""Commands as a host writes them with another's protobuf: one message, one command."""

from __future__ import annotations

import random

import pytest

from pipeline.control import Command
from plc.incoming import BadCommandError
from plc.sparkplug.commands import (
    is_ack,
    read_device_ack,
    read_device_command,
    says_nothing,
    wants_rebirth,
)
from plc.sparkplug.wire import WireError
from sparkplug_proto import Payload, written

NOW_MS = 1_795_331_702_123


@pytest.mark.parametrize(
    "command",
    [Command.START, Command.STOP, Command.PAUSE, Command.RESUME, Command.RESET_FAULT],
)
def test_a_button_is_a_command(command):
    data = written(NOW_MS, command__id="plc-7", **{f"command__{command.value}": True})
    request = read_device_command(data, 5)
    assert (request.id, request.command) == ("plc-7", command)
    assert (request.recipe, request.batch, request.encoder) == ("", "", None)


def test_commands_with_a_value():
    recipe = read_device_command(written(NOW_MS, command__select_recipe="cap_b"), 5)
    assert (recipe.command, recipe.recipe) == (Command.SELECT_RECIPE, "cap_b")
    batch = read_device_command(written(NOW_MS, command__next_batch="B-7"), 5)
    assert (batch.command, batch.batch) == (Command.NEXT_BATCH, "B-7")
    belt = {"command__set_encoder__position": -412.5, "command__set_encoder__speed": 250.0}
    encoder = read_device_command(written(NOW_MS, **belt), 5).encoder
    assert (encoder.position, encoder.speed, encoder.at_monotonic_ns) == (-412.5, 250.0, 5)


def test_without_an_id_the_same_message_acts_once_and_another_one_anew():
    first = written(NOW_MS, command__pause=True)
    ids = [
        read_device_command(data, 5).id
        for data in (first, first, written(NOW_MS + 1, command__pause=True))
    ]
    ids.append(read_device_command(written(NOW_MS, command__resume=True), 5).id)
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all(len(id_) <= 64 for id_ in ids)


@pytest.mark.parametrize(
    ("data", "id_", "reason"),
    [
        (b"", None, "neither a timestamp"),
        (b"{}", None, "cut off|wire type"),
        (b"\x00" * 5000, None, "at most 4096"),
        (written(None, command__start=True), None, "neither a timestamp"),
        (written(NOW_MS, command__id="", command__start=True), None, "1 to 64 characters"),
        (written(NOW_MS, command__id="x" * 65, command__start=True), None, "1 to 64"),
        (written(NOW_MS, command__id="a"), "a", "this one has none"),
        (written(NOW_MS, command__id="a", command__explode=True), "a", "nobody can write"),
        (written(NOW_MS, command__id="a", verdict__verdict="PASS"), "a", "nobody can write"),
        (written(NOW_MS, command__id="a", command__start="yes"), "a", "another type"),
        (written(NOW_MS, command__id="a", command__set_encoder__position=1), "a", "another type"),
        (
            written(NOW_MS, command__id="a", command__start=True, command__stop=True),
            "a",
            "start and stop",
        ),
        (
            written(NOW_MS, command__id="a", command__start=True, ack__sequence=1),
            "a",
            "message of its own",
        ),
        (written(NOW_MS, command__id="a", command__set_encoder__speed=1.0), "a", "position"),
        (written(NOW_MS, command__id="a", command__select_recipe=""), "a", "length >= 1"),
        (
            written(
                NOW_MS,
                command__id="a",
                command__set_encoder__position=float("nan"),
                command__set_encoder__speed=1.0,
            ),
            "a",
            "position",
        ),
    ],
)
def test_what_is_no_command_is_refused_with_a_reason(data, id_, reason):
    with pytest.raises(BadCommandError, match=reason) as caught:
        read_device_command(data, 5)
    assert caught.value.id == id_


def test_damaged_bytes_are_a_refusal_and_nothing_else():
    belt = {"command__set_encoder__position": 1.0, "command__set_encoder__speed": 2.0}
    wholes = (
        written(NOW_MS, command__id="plc-7", command__start=True),
        written(NOW_MS, **belt),
        written(NOW_MS, ack__session="s", ack__sequence=123),
    )
    generator = random.Random(5)
    read = 0
    for _ in range(20_000):
        data = bytearray(generator.choice(wholes))
        data[generator.randrange(len(data))] = generator.randrange(256)
        damaged = bytes(data[: generator.randint(0, 2 * len(data))])
        if is_ack(damaged):
            read_device_ack(damaged)
        elif not says_nothing(damaged):
            try:
                read_device_command(damaged, 5)
                read += 1
            except BadCommandError:
                continue
    assert 0 < read < 20_000


def test_a_button_that_is_let_go_asks_for_nothing():
    assert says_nothing(written(NOW_MS, command__start=False))
    assert says_nothing(written(NOW_MS, command__id="a", command__start=False))
    assert not says_nothing(written(NOW_MS, command__start=False, command__stop=True))
    assert not says_nothing(written(NOW_MS, command__id="a"))
    assert not says_nothing(b"\x08")


def test_acknowledgements():
    data = written(NOW_MS, ack__session="s", ack__sequence=123)
    assert is_ack(data)
    ack = read_device_ack(data)
    assert (ack.session, ack.sequence) == ("s", 123)
    assert not is_ack(written(NOW_MS, command__start=True))
    assert not is_ack(b"\x08")


@pytest.mark.parametrize(
    "metrics",
    [
        {"ack__sequence": 1},
        {"ack__session": "s"},
        {"ack__session": "s", "ack__sequence": 0},
        {"ack__session": "s", "ack__sequence": "1"},
        {"ack__session": "s", "ack__sequence": 1, "ack__more": 1},
    ],
)
def test_half_an_acknowledgement_is_none(metrics):
    assert is_ack(written(NOW_MS, **metrics))
    assert read_device_ack(written(NOW_MS, **metrics)) is None


def rebirth(wanted):
    payload = Payload(timestamp=NOW_MS)
    payload.metrics.add(name="Node Control/Rebirth", boolean_value=wanted)
    return payload.SerializeToString()


def test_rebirth_is_asked_for_with_true():
    assert wants_rebirth(rebirth(True))
    assert not wants_rebirth(rebirth(False))
    assert not wants_rebirth(written(NOW_MS, command__start=True))
    with pytest.raises(WireError):
        wants_rebirth(b"\x08")
