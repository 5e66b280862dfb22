"""One id acts once and has one answer."""

from __future__ import annotations

import pytest

from pipeline import command_desk
from pipeline.command_desk import RECENT, CommandDesk, refusal
from pipeline.control import Command, LineState, Request


class Line:
    """Does what it is told, and remembers."""

    def __init__(self) -> None:
        self.state = LineState.RUNNING
        self.done: list[str] = []
        self.says: str | None = ""
        self.desk = CommandDesk(self.act, lambda: self.state)

    def act(self, request: Request) -> str | None:
        self.done.append(request.id)
        return self.says


def test_a_command_acts_once_however_often_it_comes() -> None:
    line = Line()
    for _ in range(3):
        line.desk.take(Request("a", Command.PAUSE))
    (answer,) = line.desk.recent
    assert line.done == ["a"]
    assert (answer.id, answer.accepted, answer.reason) == ("a", True, "")
    assert answer.state is LineState.RUNNING


def test_a_command_out_of_place_is_refused_and_does_not_act() -> None:
    line = Line()
    line.desk.take(Request("a", Command.RESUME))
    line.state = LineState.PAUSED
    line.desk.take(Request("a", Command.RESUME))
    (answer,) = line.desk.recent
    assert line.done == []
    assert answer.reason == "resume is possible in PAUSED; the line is RUNNING"


def test_an_answer_may_follow_later() -> None:
    line = Line()
    line.says = None
    request = Request("a", Command.PAUSE)
    for _ in range(2):
        line.desk.take(request)
    assert (line.done, line.desk.recent) == (["a"], ())
    line.desk.answer(request, "no such thing")
    line.desk.take(request)
    (answer,) = line.desk.recent
    assert (line.done, answer.reason) == (["a"], "no such thing")


def test_an_old_answer_that_is_asked_for_is_recent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_desk, "MOST_ANSWERS", 2 * RECENT)
    line = Line()
    for number in range(2 * RECENT):
        line.desk.take(Request(f"n{number}", Command.PAUSE))
    assert "n3" not in {answer.id for answer in line.desk.recent}
    line.desk.take(Request("n3", Command.PAUSE))
    assert line.desk.recent[-1].id == "n3"
    assert len(line.desk.recent) == RECENT
    line.desk.take(Request("new", Command.PAUSE))
    line.desk.take(Request("n0", Command.PAUSE))
    assert line.done.count("n0") == 2, "forgotten: it was the oldest of all"


def test_a_refusal_names_all_states_in_which_a_command_is_possible() -> None:
    assert refusal(Command.PAUSE, LineState.RUNNING) == ""
    assert refusal(Command.SELECT_RECIPE, LineState.FAULT) == (
        "select_recipe is possible in READY and PAUSED; the line is FAULT"
    )
