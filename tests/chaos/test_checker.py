"""Each broken statement is noticed, and what is allowed is not taken for one."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from chaos.checker import Checker
from chaos.ledger import Account
from chaos.view import Away, GateEvent, Heard, PlcView
from pipeline.config_file import line_file, load_line
from pipeline.messages import AnnouncedNote, Part, Reason, Stamp, Verdict, VerdictRecord
from plc.access import access_of
from plc.payloads import verdict_payload

SESSION, BUNDLE = "20261122-071502-3f9a", "b-1"
KEY = SESSION, 1
CAPTURED_S = 1000.0
DEADLINE_S = CAPTURED_S + 2
WALL_NS = 1_790_000_000_000_000_000
COMPUTED = tuple(
    Stamp(stage, int(CAPTURED_S * 1e9), int((CAPTURED_S + 0.1) * 1e9))
    for stage in ("preprocessing", "reconstruction", "segmentation")
)


def record(**changes: Any) -> VerdictRecord:
    """A PASS, 200 ms after the capture."""
    whole: dict[str, Any] = {
        "part": Part(3, *KEY),
        "verdict": Verdict.PASS,
        "reason": Reason.BELOW_THRESHOLD,
        "text": "",
        "score": 0.25,
        "threshold": 0.5,
        "bundle_id": BUNDLE,
        "calibration_id": "c-1",
        "captured_wall_ns": WALL_NS,
        "decided_wall_ns": WALL_NS + 200_000_000,
        "deadline_wall_ns": WALL_NS + 2_000_000_000,
        "late": False,
        "latency_ms": 200.0,
        "simulated": True,
        "source": "",
        "truth": None,
        "defects": (),
        "stamps": COMPUTED,
    }
    return VerdictRecord(**(whole | changes))


@pytest.fixture
def view() -> PlcView:
    config = load_line(line_file(3))
    view = PlcView(config, access_of(config.mqtt))
    view.away = [Away(0.0, 1.0)]
    return view


@pytest.fixture
def account() -> Account:
    captured_ns, deadline_ns = int(CAPTURED_S * 1e9), int(DEADLINE_S * 1e9)
    note = AnnouncedNote(Part(3, *KEY), captured_ns, WALL_NS, deadline_ns, "", None)
    return Account(announced={1: note}, last=1)


@pytest.fixture
def checker(view: PlcView) -> Checker:
    return Checker(load_line(line_file(3)), view, BUNDLE)


def hear(view: PlcView, said: VerdictRecord, at_s: float = CAPTURED_S + 0.21) -> None:
    view.verdicts[KEY].append(Heard(at_s, verdict_payload(said)))


def judged(checker: Checker, account: Account) -> list[tuple[int, str]]:
    found = checker.judge({SESSION: account}, time.monotonic(), final=True)
    return [(violation.statement, violation.text) for violation in found]


def test_a_part_that_passed_as_it_should_is_no_violation(checker, view, account):
    account.records[1].append(record())
    hear(view, record())
    view.gates.append(GateEvent(DEADLINE_S, KEY, fired=False))

    assert judged(checker, account) == []


@pytest.mark.parametrize("count", [0, 2])
def test_no_verdict_and_two_are_noticed(checker, view, account, count):
    account.records[1] += [record()] * count

    assert judged(checker, account) == [(1, f"has {count} verdicts in the ledger")]


def test_a_verdict_that_never_came_is_noticed_unless_it_was_counted(checker, view, account):
    account.records[1].append(record(verdict=Verdict.REJECT, reason=Reason.ABOVE_THRESHOLD))
    assert judged(checker, account) == [(1, "REJECT (ABOVE_THRESHOLD) never came to the PLC")]

    for allowed in ("named", "confirmed", "away", "killed"):
        again = Checker(load_line(line_file(3)), view, BUNDLE)
        view.undelivered = {KEY} if allowed == "named" else set()
        account.undelivered.discard(1)
        if allowed == "confirmed":
            account.undelivered.add(1)
        view.away = [Away(CAPTURED_S, CAPTURED_S + 5)] if allowed == "away" else []
        again.killed_s = {SESSION: CAPTURED_S + 0.5} if allowed == "killed" else {}
        assert judged(again, account) == [], allowed


def test_what_the_plc_heard_must_be_what_the_ledger_has(checker, view, account):
    account.records[1].append(record())
    hear(view, record(verdict=Verdict.REJECT, reason=Reason.ABOVE_THRESHOLD, score=0.75))
    hear(view, record())

    texts = [text for _, text in judged(checker, account)]

    assert any("two different verdicts" in text for text in texts)
    assert any("the ledger has another" in text for text in texts)


def test_a_verdict_without_a_ledger_is_noticed(checker, view):
    view.verdicts[KEY].append(Heard(time.monotonic() - 60, verdict_payload(record())))

    assert judged(checker, Account()) == [(1, "the PLC was given a verdict that no ledger has")]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"score": None}, "without a score"),
        ({"score": 0.75}, "above"),
        ({"bundle_id": "another"}, "not calibrated"),
        ({"stamps": COMPUTED[:2]}, "without the work of segmentation"),
        ({"latency_ms": 2100.0}, "after the part's deadline"),
        ({"late": True}, "after the part's deadline"),
    ],
)
def test_a_pass_without_proof_is_noticed(checker, view, account, changes, text):
    account.records[1].append(record(**changes))
    hear(view, record(**changes))

    ((statement, found),) = judged(checker, account)

    assert statement == 2
    assert text in found


def test_the_gate_is_judged_by_what_had_come_before(checker, view, account):
    account.records[1].append(record())
    hear(view, record(), at_s=DEADLINE_S + 0.5)
    view.gates.append(GateEvent(DEADLINE_S, KEY, fired=False))
    view.gates.append(GateEvent(DEADLINE_S + 1, KEY, fired=False))
    view.gates.append(GateEvent(DEADLINE_S, KEY, fired=True))

    found = judged(checker, account)

    assert found == [
        (3, "went through the gate without a PASS"),
        (3, "went through the gate with a PASS that had expired"),
    ]


def test_a_gate_that_fires_at_a_part_with_a_pass_is_noticed_unless_clocks_disagree(
    checker, view, account
):
    account.records[1].append(record())
    hear(view, record())
    view.gates.append(GateEvent(DEADLINE_S, KEY, fired=True))
    assert judged(checker, account) == [(3, "the gate fired at a part with a PASS in time")]

    again = Checker(load_line(line_file(3)), view, BUNDLE)
    again.clocks_disagreed(CAPTURED_S, DEADLINE_S)
    assert judged(again, account) == []


def test_a_part_is_judged_once_and_not_before_its_time(checker, view, account):
    account.records[1] += [record(), record()]
    note = account.announced[1]
    now_ns = time.monotonic_ns()
    account.announced[1] = msgspec.structs.replace(note, captured_monotonic_ns=now_ns)
    assert checker.judge({SESSION: account}, time.monotonic()) == []

    account.announced[1] = note

    assert len(checker.judge({SESSION: account}, time.monotonic(), final=True)) == 1
    assert checker.judge({SESSION: account}, time.monotonic(), final=True) == []
