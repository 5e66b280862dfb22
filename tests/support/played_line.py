"""A line whose stages are played by a test: they beat, report what the test says, and listen."""

from __future__ import annotations

import os
import threading

from pipeline.control import Beat, LineOrder, LineState, StageLoad, StageReport
from pipeline.line_view import LineView
from pipeline.run_folder import RunFolder
from pipeline.wire import StageControl, new_context


class Views:
    """An onlooker that remembers."""

    def __init__(self) -> None:
        self.views: list[LineView] = []

    def show(self, view: LineView) -> None:
        self.views.append(view)


class Players(threading.Thread):
    """Beats for every stage, and remembers the orders; `play` says what a stage reports."""

    def __init__(self, folder: RunFolder, names: list[str]) -> None:
        super().__init__(daemon=True)
        self.orders: list[LineOrder] = []
        self.over = threading.Event()
        self._folder, self._names = folder, names

    def play(self, stage: str, order: LineOrder) -> StageReport:
        return StageReport()

    def ready(self, stage: str, order: LineOrder) -> bool:
        return True

    def load(self, stage: str) -> StageLoad:
        return StageLoad()

    def names(self) -> list[str]:
        return self._names

    def run(self) -> None:
        context = new_context()
        control = StageControl(context, self._folder.path)
        order = LineOrder("", LineState.PREOPERATIONAL, "", 0)
        while not self.over.is_set():
            control.socket.poll(20)
            newest = control.order()
            if newest is not None and newest != order:
                order = newest
                self.orders.append(order)
            for name in self.names():
                control.beat(self._beat(name, order))
        control.close()
        context.term()

    def _beat(self, name: str, order: LineOrder) -> Beat:
        heard = bool(self.orders)  # ready before, the line might run before it was listened to
        ready, report = heard and self.ready(name, order), self.play(name, order)
        session, pid = self._folder.session, os.getpid()
        fields = (order.capture, {}, {}, 0, 0, 0, 1.0, report)
        return Beat(name, 0, pid, session, ready, *fields, load=self.load(name))
