"""What commands do to a running line: they move its state, or change what it works with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipeline.command_desk import CommandDesk
from pipeline.config import LineConfig
from pipeline.control import Command, Request
from pipeline.errors import ConfigError
from pipeline.order_book import OrderBook
from pipeline.process_group import ProcessGroup
from pipeline.recipe_switch import RecipeCheck, RecipeSwitch
from pipeline.run_folder import RunFolder
from pipeline.states import COMMAND_EVENTS, Event

Move = Callable[[Event, str], None]


class Commander:
    """Takes requests and sees a change of recipe through. `move` changes the line's state."""

    def __init__(
        self,
        config: LineConfig,
        folder: RunFolder,
        group: ProcessGroup,
        book: OrderBook,
        move: Move,
    ) -> None:
        self._config, self._folder = config, folder
        self._group, self._book, self._move = group, book, move
        self._desk = CommandDesk(self._obey, lambda: book.order.state)
        self._switch: RecipeSwitch | None = None
        self._closed = ""

    @property
    def loading(self) -> str:
        """What is said while processes end and begin for another recipe; empty otherwise."""
        return self._on_its_way() if self._switch is not None and self._switch.loading else ""

    def take(self, requests: Iterable[Request]) -> bool:
        """Act on what is new; whether there are answers that the order does not have yet."""
        for request in requests:
            self._desk.take(request)
        return self._publish_answers()

    def go_on(self, settled: bool) -> bool:
        """The next step of a change of recipe: checked, then nothing in flight, then loaded.

        For a line in PAUSED or READY; `settled` says that every part has its verdict. Gives what
        `take` gives.
        """
        switch = self._switch
        if switch is None:
            return False
        if not switch.checked:
            reason = switch.check.outcome()
            switch.checked = reason == ""
            if reason:
                name = switch.config.recipe
                self.give_up(f"recipe {name} cannot be used: {reason} (--set recipe={name})")
        elif not switch.loading and settled:
            self._load(switch)
        elif switch.loading and self._group.all_ready():
            self._switch = None
            self._move(Event.RECIPE, f"recipe {switch.config.recipe} is loaded")
        return self._publish_answers()

    def close(self, reason: str) -> None:
        """Refuse everything from now on."""
        self._closed = reason
        self.give_up(reason)

    def give_up(self, reason: str) -> None:
        """End a change of recipe; one that is loading already is only forgotten."""
        switch, self._switch = self._switch, None
        if switch is None:
            return
        switch.check.close()
        if not switch.loading:
            self._desk.answer(switch.request, reason)

    def _obey(self, request: Request) -> str | None:
        """Do what a command asks: an empty text, why not, or None where the answer follows."""
        if self._closed:
            return self._closed
        match request.command:
            case Command.SELECT_RECIPE:
                return self._select(request)
            case Command.NEXT_BATCH:
                self._book.update(batch=request.batch)
            case Command.SET_ENCODER:
                self._book.update(encoder=request.encoder)
            case Command.START | Command.RESUME if self._unprepared():
                return self._unprepared()
            case command:
                self._move(COMMAND_EVENTS[command], f"command {command}")
        return ""

    def _unprepared(self) -> str:
        """Why the line cannot take parts now; empty where it can."""
        return self._on_its_way() or self._group.waiting_for()

    def _on_its_way(self) -> str:
        return f"recipe {self._switch.config.recipe} is being loaded" if self._switch else ""

    def _select(self, request: Request) -> str | None:
        by_hand = [w.name for w in self._group.workers if w.by_hand and w.row.reloads]
        reason = self._unprepared()
        if by_hand:
            reason = f"{', '.join(by_hand)} runs by hand; start it again yourself"
        if reason:
            return reason
        try:
            config = self._config.with_recipe(request.recipe)
        except ConfigError as error:
            return str(error)
        self._switch = RecipeSwitch(request, config, RecipeCheck(config, self._folder.path))
        return None

    def _load(self, switch: RecipeSwitch) -> None:
        switch.loading = True
        self._config = switch.config
        self._folder.write_config(switch.config)
        self._group.retire({w.row.name for w in self._group.workers if w.row.reloads})
        self._book.update(recipe=switch.config.recipe, loads=self._book.order.loads + 1)
        self._desk.answer(switch.request, "")
        self._move(Event.RECIPE, self.loading)

    def _publish_answers(self) -> bool:
        news = self._desk.recent != self._book.order.answers
        if news:
            self._book.update(answers=self._desk.recent)
        return news
