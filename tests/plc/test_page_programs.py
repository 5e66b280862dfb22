"""The programs of docs/plc.md do what the page says: their text is translated and run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from plc.incoming import read_command
from structured_text import Block, Controller

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "plc.md").read_text(encoding="utf-8")
GATE, COMMAND = re.findall(r"```iecst\n(.*?)```", PAGE, re.DOTALL)
SPEED = 200.0
"""Of the belt, mm/s."""
CYCLE_S = 0.01
SESSION = "20261122-071502-3f9a"


class Line:
    """A belt, a line that counts each part a little later, and the gate's program between them."""

    def __init__(self, delay_s: float = 0.05) -> None:
        self.delay_s = delay_s
        self.controller = Controller()
        self.gate = Block(GATE, self.controller)
        self.session, self.sequence, self.state = SESSION, 0, "RUNNING"
        self.takes, self.heard = True, True
        self.fired: list[float] = []
        self._captures: list[float] = []
        self._beat_s = 0.0

    def say(self, topic: str, **payload: object) -> None:
        if self.heard:
            self.controller.hear(topic, session=self.session, **payload)

    def status(self, state: str | None = None) -> None:
        self.say("status", state=state or self.state, sequence=self.sequence)

    def verdict(self, sequence: int, verdict: str = "PASS") -> None:
        if verdict != "PASS":
            self.say("reject", sequence=sequence, verdict=verdict)
        self.say("verdict", sequence=sequence, verdict=verdict)

    def begin(self) -> None:
        self.status()
        self.run(0.1)

    def run(self, seconds: float, parts: int = 0, rate_hz: float = 0.0) -> None:
        """So much time, with a part every 1 / rate from its beginning on, as many as `parts`."""
        begin_s, given = self.controller.now_s, 0
        while self.controller.now_s < begin_s + seconds - CYCLE_S / 2:
            now_s = self.controller.now_s = round(self.controller.now_s + CYCLE_S, 3)
            trigger = given < parts and now_s - begin_s >= given / rate_hz
            given += trigger
            if trigger and self.takes:
                self._captures.append(now_s)
            while self._captures and now_s - self._captures[0] >= self.delay_s:
                self._captures.pop(0)
                self.sequence += 1
            if now_s >= self._beat_s:
                self._beat_s = now_s + 0.5
                self.say("heartbeat", state=self.state, sequence=self.sequence)
            self.gate.cycle(bTrigger=trigger, fEncoder=SPEED * now_s)
            if self.gate.bGate:
                self.fired.append(now_s)

    @property
    def acknowledged(self) -> list[int]:
        return [payload["sequence"] for _, payload in self.controller.published]


@pytest.fixture
def line() -> Line:
    line = Line()
    line.begin()
    return line


def test_only_a_part_with_a_pass_goes_through(line: Line) -> None:
    line.run(1.5, parts=3, rate_hz=2)
    assert line.gate.bLineAlive
    line.verdict(1)
    line.verdict(2, "REJECT")
    line.run(3)
    assert len(line.fired) == 2, "the second was rejected, and of the third nothing was heard"
    assert line.acknowledged == [2]
    assert not line.gate.bCountFault


def test_a_pass_of_the_new_session_lets_no_part_of_the_old_one_through(line: Line) -> None:
    line.run(1.0, parts=3, rate_hz=10)
    line.verdict(3, "REJECT")
    line.run(0.1)
    line.session, line.sequence = "20261122-080000-0001", 0
    line.status()
    line.run(0.05)
    line.run(0.3, parts=3, rate_hz=10)
    line.verdict(3)
    line.run(3)
    assert len(line.fired) == 5, "three old ones, and two new ones of which nothing was heard"
    assert line.acknowledged == [], "what the old session rejected is nothing to the new one"


def test_a_line_that_is_offline_goes_on_counting_and_so_does_the_plc(line: Line) -> None:
    line.run(1.0, parts=2, rate_hz=4)
    line.status("OFFLINE")
    line.run(0.05)
    assert not line.gate.bLineAlive
    line.heard = False
    line.run(2.0, parts=4, rate_hz=4)
    line.heard = True
    line.status()
    line.run(2.0)
    assert line.gate.nCounted == line.sequence == 6
    line.run(0.2, parts=1, rate_hz=4)
    line.verdict(7)
    fired = len(line.fired)
    line.run(4.0)
    assert line.gate.bLineAlive
    assert not line.gate.bCountFault
    assert len(line.fired) == fired, "the first part after the cut passes"


def test_a_healthy_line_at_a_brisk_rate_is_no_miscount() -> None:
    line = Line(delay_s=0.25)
    line.begin()
    for _ in range(20):
        line.run(0.5, parts=10, rate_hz=20)
        assert not line.gate.bCountFault
    assert line.gate.nCounted == 200


@pytest.mark.parametrize("lost", [True, False], ids=["a lost frame", "a frame without a trigger"])
def test_a_miscount_is_a_fault_until_the_belt_was_emptied(line: Line, lost: bool) -> None:
    line.run(1.0, parts=2, rate_hz=2)
    if lost:
        line.takes = False
        line.run(0.5, parts=1, rate_hz=2)
        line.takes = True
    else:
        line.sequence += 1
    line.run(4.0, parts=3, rate_hz=2)
    assert line.gate.bCountFault
    line.gate.cycle(bEmptied=True)
    line.run(3.0)
    line.gate.cycle(bEmptied=False)
    line.run(3.0, parts=4, rate_hz=2)
    assert not line.gate.bCountFault
    assert line.gate.nCounted == line.sequence


def test_silence_is_no_line(line: Line) -> None:
    line.run(1.0)
    assert line.gate.bLineAlive
    line.heard = False
    line.run(2.0)
    assert not line.gate.bLineAlive


class Sender:
    """The program that sends commands, and its controller."""

    def __init__(self) -> None:
        self.controller = Controller()
        self.block = Block(COMMAND, self.controller)
        self.block.cycle(
            sOwner="plc-7", sCommand="select_recipe", sValues=',"recipe":"cap_b"', bSend=False
        )

    def run(self, seconds: float, **inputs: object) -> None:
        for _ in range(round(seconds / 0.1)):
            self.controller.now_s += 0.1
            self.block.cycle(**inputs)

    def answer(self, result: str, id_: str | None = None) -> None:
        self.controller.hear("response", id=id_ or self.block.sId, result=result, reason="because")

    @property
    def ids(self) -> list[str]:
        return [payload["id"] for _, payload in self.controller.published]


def test_a_command_goes_out_as_the_line_reads_it() -> None:
    sender = Sender()
    sender.run(1.0, bSend=True)
    ((topic, payload),) = sender.controller.published
    request = read_command(json.dumps(payload).encode(), 0)
    assert (topic, request.command, request.recipe) == ("command", "select_recipe", "cap_b")


def test_a_command_without_an_answer_is_sent_again_with_the_same_id() -> None:
    sender = Sender()
    sender.run(5.0, bSend=True)
    assert sender.ids == ["plc-7-1"] * 3
    sender.answer("accepted", "plc-8-1")
    sender.run(0.1)
    assert sender.block.bBusy, "that was another one's"
    sender.answer("accepted")
    sender.run(5.0)
    assert (sender.block.bBusy, sender.block.bAccepted, len(sender.ids)) == (False, True, 3)


def test_a_refusal_says_why_and_the_next_intention_has_another_id() -> None:
    sender = Sender()
    sender.run(0.5, bSend=True)
    sender.answer("refused")
    sender.run(0.5, bSend=False)
    assert (sender.block.bRefused, sender.block.sReason) == (True, "because")
    sender.run(0.5, bSend=True)
    assert sender.ids == ["plc-7-1", "plc-7-2"]
    assert not sender.block.bRefused


def test_a_position_of_the_belt_is_never_sent_twice() -> None:
    sender = Sender()
    values = ',"position":412.04,"speed":250.0'
    sender.run(5.0, bSend=True, bOnce=True, sCommand="set_encoder", sValues=values)
    assert sender.ids == ["plc-7-1"]
    sender.run(0.1, bSend=False)
    sender.run(0.1, bSend=True)
    assert sender.ids == ["plc-7-1", "plc-7-2"], "it does not wait for an answer"
