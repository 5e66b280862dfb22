"""A recipe is checked beside the line, and loaded only when nothing is in flight."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import recipe_switch
from pipeline.commander import Commander
from pipeline.config import LineConfig
from pipeline.config_file import load_line
from pipeline.control import Answer, Beat, Command, LineState, Request, StageReport
from pipeline.line import rows
from pipeline.order_book import OrderBook
from pipeline.process_group import ProcessGroup
from pipeline.recipe_switch import RecipeCheck
from pipeline.run_folder import RunFolder
from pipeline.states import Event, next_state

MakeConfig = Callable[..., LineConfig]
Until = Callable[[Callable[[], object]], None]


class Line:
    """A commander with all that it commands; its stages have no processes but are ready."""

    def __init__(self, config: LineConfig) -> None:
        log = logging.getLogger("line")
        self.folder = RunFolder(config)
        self.folder.open()
        self.group = ProcessGroup(config, rows(config), frozenset(), log)
        self.book = OrderBook(self.folder.session, config.recipe, log)
        self.commander = Commander(config, self.folder, self.group, self.book, self.move)
        for worker in self.group.workers:
            fields = (self.folder.session, True, False, {}, {}, 0, 0, 0, 1.0, StageReport())
            worker.beat = Beat(worker.row.name, worker.number, 1, *fields)
        for event in (Event.BEGIN, Event.PAUSE):
            self.move(event, "in the test")

    def move(self, event: Event, cause: str) -> None:
        state = next_state(self.book.order.state, event)
        assert state is not None
        self.book.change(state, cause, ())

    def ask(self, recipe: str, id_: str = "1") -> None:
        self.commander.take([Request(id_, Command.SELECT_RECIPE, recipe=recipe)])

    def answer(self, id_: str = "1") -> Answer | None:
        return next((item for item in self.book.order.answers if item.id == id_), None)


@pytest.fixture
def line(make_config: MakeConfig, tmp_path: Path, run_dir: Path) -> Iterator[Line]:
    recipes = [
        {"name": name, "bundle": str(tmp_path / name), "calibration": str(tmp_path / name)}
        for name in ("cap_b", "cap_c")
    ]
    line = Line(make_config({"recipes": recipes, "run_folder": str(run_dir / "run")}))
    yield line
    line.commander.close("the test is over")
    line.folder.close()


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What the checks say, one after the other, without their processes."""
    said: list[str | None] = []

    class Check(RecipeCheck):
        def __init__(self, config: LineConfig, folder: Path) -> None: ...

        def outcome(self) -> str | None:
            return said.pop(0)

        def close(self) -> None: ...

    monkeypatch.setattr("pipeline.commander.RecipeCheck", Check)
    return said


def test_a_good_recipe_is_loaded_when_nothing_is_in_flight(
    line: Line, outcomes: list[str | None]
) -> None:
    line.ask("cap_b")
    outcomes += [None, ""]
    line.commander.go_on(settled=False)
    line.commander.go_on(settled=False)
    assert line.answer() is None
    line.commander.go_on(settled=False)
    assert (line.answer(), line.book.order.recipe) == (None, "default"), "parts are in flight"
    assert line.commander.go_on(settled=True)
    answer = line.answer()
    assert answer is not None
    assert answer.accepted
    assert (line.book.order.recipe, line.book.order.loads) == ("cap_b", 1)
    assert load_line(line.folder.config_file).model.bundle.name == "cap_b"
    assert (line.book.order.state, line.book.order.cause) == (
        LineState.PAUSED,
        "recipe cap_b is being loaded",
    )
    line.commander.go_on(settled=True)
    assert line.book.order.cause == "recipe cap_b is loaded"


def test_a_bad_recipe_is_refused_and_changes_nothing(
    line: Line, outcomes: list[str | None]
) -> None:
    before = line.folder.config_file.read_text()
    line.ask("cap_b")
    outcomes.append("no model bundle in /x")
    line.commander.go_on(settled=True)
    answer = line.answer()
    assert answer is not None
    assert (
        answer.reason == "recipe cap_b cannot be used: no model bundle in /x (--set recipe=cap_b)"
    )
    assert line.book.order.recipe == "default"
    assert line.folder.config_file.read_text() == before


def test_nothing_else_happens_while_a_recipe_is_loaded(
    line: Line, outcomes: list[str | None]
) -> None:
    line.ask("cap_b")
    line.commander.take([Request("2", Command.RESUME)])
    line.ask("cap_c", "3")
    for id_ in ("2", "3"):
        answer = line.answer(id_)
        assert answer is not None
        assert answer.reason == "recipe cap_b is being loaded"


def test_an_unknown_recipe_is_refused_at_once(line: Line) -> None:
    line.ask("cap_x")
    answer = line.answer()
    assert answer is not None
    assert "the line has default, cap_b, cap_c" in answer.reason


def test_a_line_that_ends_answers_what_it_has_begun(line: Line, outcomes: list[str | None]) -> None:
    line.ask("cap_b")
    line.commander.close("the line is ending")
    line.commander.take([Request("2", Command.NEXT_BATCH, batch="x")])
    for id_ in ("1", "2"):
        answer = line.answer(id_)
        assert answer is not None
        assert answer.reason == "the line is ending"


@pytest.mark.slow
def test_a_recipe_without_bundle_is_found_by_a_process_of_its_own(line: Line, until: Until) -> None:
    line.ask("cap_b")
    until(lambda: line.commander.go_on(settled=True) or line.answer())
    answer = line.answer()
    assert answer is not None
    assert "no model bundle" in answer.reason
    assert answer.reason.endswith("(--set recipe=cap_b)")


def test_a_check_that_takes_too_long_is_ended(
    line: Line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(recipe_switch, "CHECK_TIMEOUT_S", -1.0)
    check = RecipeCheck(load_line(line.folder.config_file), tmp_path)
    assert check.outcome() == "its check took longer than -1 s"
    check.close()
