"""One id, one response: however often a command comes, and whoever is restarted meanwhile."""

from __future__ import annotations

import json

import pytest

from pipeline.control import Answer, Command, LineState
from plc.command_inbox import MOST_PER_SECOND, MOST_WAITING, CommandInbox

S = LineState.RUNNING


def data(id_="a1", command="pause"):
    return json.dumps({"schema": "inspection.command/1", "id": id_, "command": command}).encode()


def answer(id_="a1", accepted=True):
    reason = "" if accepted else "no"
    return Answer(id_, Command.PAUSE, accepted, reason, LineState.PAUSED, 0)


@pytest.fixture
def inbox():
    return CommandInbox(3, "s")


def test_a_command_waits_for_its_answer(inbox):
    assert inbox.receive(data(), 5, S) is None
    (request,) = inbox.requests
    assert request.command is Command.PAUSE
    (response,) = inbox.answered([answer()])
    assert (response.id, response.command, response.result) == ("a1", "pause", "accepted")
    assert (response.session, response.state) == ("s", LineState.PAUSED)
    assert inbox.requests == ()


def test_the_same_id_again_gives_the_same_response(inbox):
    inbox.receive(data(), 5, S)
    inbox.receive(data(), 6, S)
    assert len(inbox.requests) == 1
    (response,) = inbox.answered([answer()])
    assert inbox.answered([answer()]) == [], "every order repeats the answers"
    assert inbox.receive(data(), 7, S) == response
    assert inbox.receive(data(command="start"), 8, S) == response, "the id decides"
    assert inbox.requests == ()


def test_answers_of_an_earlier_process_are_known_and_not_said_unasked(inbox):
    assert inbox.answered([answer(accepted=False)]) == []
    response = inbox.receive(data(), 5, S)
    assert (response.result, response.reason) == ("refused", "no")
    assert inbox.requests == ()


def test_what_cannot_be_read_is_refused_at_once(inbox):
    response = inbox.receive(data(command="explode"), 5, S)
    assert (response.id, response.command, response.result) == ("a1", "explode", "refused")
    assert response.state is S
    assert inbox.receive(b"?", 5, S).id is None
    assert inbox.receive(data(), 5, S) is None, "the sender may mend it under the same id"


def test_too_many_at_once_are_refused(inbox):
    for number in range(MOST_WAITING):
        assert inbox.receive(data(f"n{number}"), 5, S) is None
    assert "wait for their answers" in inbox.receive(data("more"), 5, S).reason
    assert inbox.receive(data("n0"), 5, S) is None
    assert len(inbox.requests) == MOST_WAITING


def test_a_flood_of_what_cannot_be_read_is_counted_but_not_answered_without_end(inbox):
    second = 1_000_000_000
    given = [inbox.receive(b"?", second + n, S) for n in range(1000)]
    assert [response is not None for response in given] == [
        n < MOST_PER_SECOND for n in range(1000)
    ]
    assert inbox.refused == 1000
    assert inbox.receive(data(), second, S) is None, "a sound one is taken all the same"
    assert len(inbox.requests) == 1
    assert inbox.receive(b"?", 2 * second, S) is not None
