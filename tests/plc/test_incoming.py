"""Commands and acks as bytes from outside: what is taken, and what is said of the rest."""

from __future__ import annotations

import json

import pytest

from pipeline.control import Command, Encoder, Request
from plc.incoming import MOST_BYTES, BadCommandError, read_ack, read_command


def data(**keys):
    return json.dumps({"schema": "inspection.command/1", "id": "a1", **keys}).encode()


@pytest.mark.parametrize("name", ["start", "stop", "pause", "resume", "reset_fault"])
def test_plain_commands(name):
    assert read_command(data(command=name), 5) == Request("a1", Command(name))


def test_commands_with_a_value():
    recipe = read_command(data(command="select_recipe", recipe="cap_b"), 5)
    batch = read_command(data(command="next_batch", batch="B 7"), 5)
    encoder = read_command(data(command="set_encoder", position=-12.5, speed=0), 5)
    assert (recipe.recipe, batch.batch) == ("cap_b", "B 7")
    assert encoder.encoder == Encoder(-12.5, 0.0, 5), "its position is that of its arrival"


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"command": "select_recipe"}, "select_recipe needs recipe, and has nothing"),
        ({"command": "next_batch", "recipe": "x"}, "next_batch needs batch, and has recipe"),
        ({"command": "set_encoder", "position": 1.0}, "needs position and speed, and has position"),
        ({"command": "start", "batch": "x"}, "start needs nothing more, and has batch"),
        ({"command": "start", "now": True}, "unknown field `now`"),
        ({"command": "explode"}, "Invalid enum value 'explode'"),
        ({"command": "set_encoder", "position": 0.0, "speed": -1.0}, ">= 0"),
        ({"command": "next_batch", "batch": "x" * 65}, "length <= 64"),
        ({"command": "start", "schema": "inspection.command/2"}, "inspection.command/2"),
        ({}, "missing required field `command`"),
    ],
)
def test_what_cannot_be_obeyed_says_why_to_its_sender(keys, reason):
    with pytest.raises(BadCommandError) as caught:
        read_command(data(**keys), 5)
    assert reason in str(caught.value)
    assert caught.value.id == "a1"
    assert caught.value.command == keys.get("command")


@pytest.mark.parametrize(
    "foreign",
    [b"", b"start", b"[]", b"\xff\xfe", b'{"command": "start"}', b'{"id": 7, "command": "start"}'],
)
def test_what_is_no_command_has_no_sender(foreign):
    with pytest.raises(BadCommandError) as caught:
        read_command(foreign, 5)
    assert caught.value.id is None


@pytest.mark.parametrize("nested", [b"[" * 4000, b'{"x":' + b"[" * 2000 + b"]" * 2000 + b"}"])
def test_what_is_nested_endlessly_is_refused_like_everything_else(nested):
    with pytest.raises(BadCommandError) as caught:
        read_command(nested, 5)
    assert caught.value.id is None
    assert read_ack(nested) is None


def test_a_huge_message_is_not_even_read():
    with pytest.raises(BadCommandError, match=f"at most {MOST_BYTES}"):
        read_command(b" " * (MOST_BYTES + 1), 5)
    assert read_ack(b" " * (MOST_BYTES + 1)) is None


def test_acks():
    ack = read_ack(b'{"schema":"inspection.ack/1","session":"s","sequence":7}')
    assert (ack.session, ack.sequence) == ("s", 7)
    for foreign in (b"", b"7", b'{"session":"s","sequence":0}', b'{"session":"s"}', b"\xff"):
        assert read_ack(foreign) is None
