"""Each broken statement is noticed, and what is allowed is not taken for one."""

from __future__ import annotations

import time

import msgspec
import pytest

from chaos.checker import Checker
from chaos.ledger import Account
from chaos.view import Away, GateEvent, Heard, HeardReject, PlcView
from chaos_parts import (
    BUNDLE,
    CAPTURED_S,
    COMPUTED,
    DEADLINE_S,
    REJECTED,
    SESSION,
    announced,
    record,
)
from pipeline.config_file import line_file, load_line
from pipeline.messages import Stamp, VerdictRecord
from plc.payloads import reject_payload, verdict_payload
from stages.decision.rule import DecisionRule

RULE = DecisionRule(0.5, BUNDLE, "c-1")
KEY = SESSION, 1


@pytest.fixture
def account() -> Account:
    account = Account(announced={1: announced()}, last=1)
    account.delivered.add(1)
    return account


def new_checker(view: PlcView) -> Checker:
    return Checker(load_line(line_file(3)), view, RULE)


@pytest.fixture
def checker(view: PlcView) -> Checker:
    return new_checker(view)


def hear(view: PlcView, said: VerdictRecord, at_s: float = CAPTURED_S + 0.21) -> None:
    view.verdicts[KEY].append(Heard(at_s, verdict_payload(said)))


def tell_gate(view: PlcView, said: VerdictRecord, remaining_ms: int = 1790) -> None:
    payload = reject_payload(said, remaining_ms)
    assert payload is not None
    view.rejects[KEY].append(HeardReject(CAPTURED_S + 0.21, payload))


def at_gate(view: PlcView, *, fired: bool, at_s: float = DEADLINE_S) -> None:
    view.gates.append(GateEvent(at_s, KEY, fired, at_s - 0.005))


def judged(checker: Checker, account: Account) -> list[tuple[int, str]]:
    found = checker.judge({SESSION: account}, time.monotonic(), final=True)
    return [(violation.statement, violation.text) for violation in found]


def test_a_part_that_passed_as_it_should_is_no_violation(checker, view, account):
    account.records[1].append(record())
    hear(view, record())
    at_gate(view, fired=False)

    assert judged(checker, account) == []


def test_a_part_that_was_rejected_as_it_should_is_no_violation(checker, view, account):
    account.records[1].append(record(**REJECTED))
    tell_gate(view, record(**REJECTED))
    hear(view, record(**REJECTED))
    at_gate(view, fired=True)

    assert judged(checker, account) == []


@pytest.mark.parametrize("count", [0, 2])
def test_no_verdict_and_two_are_noticed(checker, account, count):
    account.records[1] += [record()] * count

    assert judged(checker, account) == [(1, f"has {count} verdicts in the ledger")]


def test_a_second_verdict_is_noticed_however_late_it_comes(checker, view, account):
    account.records[1].append(record())
    hear(view, record())
    at_gate(view, fired=False)
    view.settled[SESSION] = 1
    assert checker.judge({SESSION: account}, time.monotonic()) == []

    account.records[1].append(record(**REJECTED))
    hear(view, record(**REJECTED))

    assert judged(checker, account) == [
        (1, "has 2 verdicts in the ledger"),
        (1, "the PLC was given two different verdicts"),
    ]
    assert judged(checker, account) == []


def test_a_number_for_two_captures_is_noticed(checker, view, account):
    account.records[1].append(record())
    account.ambiguous.add(1)
    hear(view, record())
    at_gate(view, fired=False)

    assert judged(checker, account) == [(1, "was announced twice, for two captures")]


def test_numbers_that_the_plc_was_told_of_must_be_in_the_ledger(checker, view, account):
    account.records[1].append(record())
    hear(view, record())
    at_gate(view, fired=False)
    view.given_out[SESSION] = 4

    text = "3 parts up to this one were given out, and no ledger has them"
    assert judged(checker, account) == [(1, text)]

    again = new_checker(view)
    again.killed_s[SESSION] = CAPTURED_S + 10
    assert judged(again, account) == []


@pytest.mark.parametrize("numbered", [0, 4])
def test_the_ledger_must_have_what_the_camera_numbered(checker, account, numbered):
    accounts = {SESSION: account}
    assert list(checker.uncounted(accounts, {SESSION: 1})) == []

    (found,) = checker.uncounted(accounts, {SESSION: numbered})
    assert found.text == f"the camera numbered {numbered} parts of {SESSION}, the ledger has 1"
    (found,) = checker.uncounted({}, {SESSION: 1})
    assert found.text.endswith("the ledger has 0")

    checker.killed_s[SESSION] = CAPTURED_S
    assert list(checker.uncounted(accounts, {SESSION: numbered})) == []


def test_a_verdict_must_have_an_end_in_the_outbox(checker, view, account):
    account.records[1].append(record())
    account.delivered.discard(1)
    hear(view, record())
    at_gate(view, fired=False)

    text = "is neither confirmed nor named as undelivered in the outbox"
    assert judged(checker, account) == [(1, text)]

    account.undelivered.add(1)
    assert judged(new_checker(view), account) == []


@pytest.mark.parametrize("allowed", ["PLC away", "hindered and named", "expired", "killed"])
def test_a_verdict_may_be_missing_at_the_plc(allowed, checker, view, account):
    late = record(**REJECTED, late=True, latency_ms=2100.0)
    account.records[1].append(late if allowed == "expired" else record(**REJECTED))
    match allowed:
        case "PLC away":
            view.away = [Away(CAPTURED_S, CAPTURED_S + 5)]
        case "hindered and named":
            account.undelivered.add(1)
            checker.hindered.add(CAPTURED_S, CAPTURED_S + 1)
        case "expired":
            view.undelivered = {KEY}
        case "killed":
            checker.killed_s = {SESSION: CAPTURED_S + 0.5}

    assert judged(checker, account) == []


def test_a_verdict_that_never_came_is_noticed(checker, account):
    account.records[1].append(record(**REJECTED))

    assert judged(checker, account) == [(1, "REJECT (ABOVE_THRESHOLD) never came to the PLC")]


def test_a_verdict_that_was_given_late_has_time_to_be_told(checker, view, account):
    """As after a decision that stood still: the PLC is told within a second or so."""
    account.records[1].append(record(**REJECTED, late=True, latency_ms=5000.0))
    view.settled[SESSION] = 1
    assert checker.judge({SESSION: account}, CAPTURED_S + 7.9) == []

    (found,) = checker.judge({SESSION: account}, CAPTURED_S + 8.1)
    assert found.text == "REJECT (ABOVE_THRESHOLD) never came to the PLC"
    assert checker.judge({SESSION: account}, CAPTURED_S + 9) == []


def test_a_part_without_any_verdict_has_no_more_time_than_others(checker, view, account):
    view.settled[SESSION] = 1
    assert checker.judge({SESSION: account}, DEADLINE_S + 2.9) == []

    (found,) = checker.judge({SESSION: account}, DEADLINE_S + 3.1)
    assert found.text == "has 0 verdicts in the ledger"


@pytest.mark.parametrize(("came_after_s", "found"), [(0.1, 1), (1.2, 0)])
def test_what_a_slow_plc_did_not_fetch_in_time_may_have_expired(
    checker, view, account, came_after_s, found
):
    """The broker has confirmed both verdicts; the other one shows how slow the PLC was then."""
    account.announced[2], account.last = announced(2), 2
    account.delivered.add(2)
    account.records[1].append(record(1, **REJECTED))
    account.records[2].append(record(2))
    other = SESSION, 2
    view.verdicts[other].append(Heard(CAPTURED_S + 0.2 + came_after_s, verdict_payload(record(2))))
    view.gates.append(GateEvent(DEADLINE_S, other, fired=False, looked_s=DEADLINE_S - 0.005))

    assert len(judged(checker, account)) == found


def test_a_verdict_that_is_counted_as_undelivered_without_need_is_noticed(checker, view, account):
    account.records[1].append(record(**REJECTED))
    view.undelivered = {KEY}

    ((statement, text),) = judged(checker, account)

    assert statement == 1
    assert "though nothing hindered its delivery" in text


@pytest.mark.parametrize(
    "other", [REJECTED, {"threshold": 0.6}, {"calibration_id": "c-2"}, {"recipe": "another"}]
)
def test_what_the_plc_heard_must_be_what_the_ledger_has(checker, view, account, other):
    account.records[1].append(record())
    hear(view, record(**other))
    at_gate(view, fired=other is REJECTED)

    ((statement, text),) = judged(checker, account)

    assert statement == 1
    assert "the ledger has another verdict" in text


@pytest.mark.parametrize("said", ["verdict", "reject"])
def test_words_about_a_part_without_a_ledger_are_noticed(checker, view, said):
    if said == "verdict":
        view.verdicts[KEY].append(Heard(time.monotonic(), verdict_payload(record(**REJECTED))))
        at_gate(view, fired=True)
    else:
        tell_gate(view, record(**REJECTED))

    assert judged(checker, Account()) == [(1, "the PLC was given a verdict that no ledger has")]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"score": None}, "without a score"),
        ({"score": 0.75}, "above"),
        ({"bundle_id": "another"}, "not calibrated"),
        ({"threshold": 1e9}, "not the active one"),
        ({"calibration_id": "another"}, "not the active one"),
        ({"stamps": COMPUTED[:2]}, "without the work of segmentation"),
        ({"latency_ms": 2100.0}, "after the part's deadline"),
        ({"late": True}, "after the part's deadline"),
        ({"stamps": (Stamp("acquisition", 5, 9), *COMPUTED)}, "before the part's capture"),
    ],
)
def test_a_pass_without_proof_is_noticed(checker, view, account, changes, text):
    account.records[1].append(record(**changes))
    hear(view, record(**changes))
    at_gate(view, fired=False)

    ((statement, found),) = judged(checker, account)

    assert statement == 2
    assert text in found


def test_a_pass_with_a_deadline_of_its_own_is_noticed(checker, view, account):
    account.records[1].append(record())
    late_ns = int((CAPTURED_S + 9) * 1e9)
    note = msgspec.structs.replace(account.announced[1], deadline_monotonic_ns=late_ns)
    account.announced[1] = note
    hear(view, record())
    at_gate(view, fired=False, at_s=CAPTURED_S + 9)

    assert judged(checker, account) == [(2, "PASS with a deadline 9000 ms after the capture")]


def test_the_gate_is_judged_by_what_had_come_before(checker, view, account):
    account.records[1].append(record())
    hear(view, record(), at_s=DEADLINE_S + 0.5)
    at_gate(view, fired=False)
    at_gate(view, fired=False, at_s=DEADLINE_S + 1)
    at_gate(view, fired=True)

    found = judged(checker, account)

    assert found == [
        (3, "went through the gate without a PASS"),
        (3, "went through the gate with a PASS that had expired"),
    ]


def test_a_verdict_told_again_with_less_time_left_is_the_same(checker, view, account):
    account.records[1].append(record())
    hear(view, record())
    view.verdicts[KEY].append(Heard(CAPTURED_S + 0.5, verdict_payload(record(), 1500, 500)))
    at_gate(view, fired=False)

    assert judged(checker, account) == []


def test_a_gate_that_fires_at_a_part_with_a_pass_is_noticed(checker, view, account):
    account.records[1].append(record())
    hear(view, record())
    at_gate(view, fired=True)
    assert judged(checker, account) == [(3, "the gate fired at a part with a PASS in time")]


@pytest.mark.parametrize("off_s", [-0.2, 1.0])
def test_a_gate_that_fires_while_another_part_is_there_is_noticed(checker, view, account, off_s):
    account.records[1].append(record(**REJECTED))
    tell_gate(view, record(**REJECTED))
    hear(view, record(**REJECTED))
    at_gate(view, fired=True, at_s=DEADLINE_S + off_s)

    text = f"the gate acted {off_s:+.2f} s from the moment at which the part was there"
    assert judged(checker, account) == [(3, text)]


def test_a_plc_that_could_not_look_earlier_is_not_blamed(checker, view, account):
    account.records[1].append(record())
    hear(view, record())
    view.gates.append(GateEvent(DEADLINE_S + 0.7, KEY, fired=False, looked_s=DEADLINE_S - 0.1))

    assert judged(checker, account) == []


def test_a_part_that_is_never_at_the_gate_is_noticed(checker, view, account):
    account.records[1].append(record(**REJECTED))
    tell_gate(view, record(**REJECTED))
    hear(view, record(**REJECTED))

    assert judged(checker, account) == [(3, "was never at the gate")]


def test_a_gate_event_is_not_judged_before_its_part_is_known(checker, view, account):
    account.records[1].append(record())
    hear(view, record(), at_s=DEADLINE_S + 0.5)
    at_gate(view, fired=False, at_s=DEADLINE_S + 1)
    assert checker.judge({}, DEADLINE_S + 0.7) == []

    assert (3, "went through the gate with a PASS that had expired") in judged(checker, account)


def test_the_gate_must_not_be_told_to_reject_a_part_with_a_pass(checker, view, account):
    account.records[1].append(record())
    hear(view, record())
    tell_gate(view, record(**REJECTED))
    at_gate(view, fired=False)

    assert judged(checker, account) == [(3, "the gate was told REJECT (ABOVE_THRESHOLD)")]


@pytest.mark.parametrize("remaining_ms", [0, 900])
def test_a_reject_that_names_another_moment_is_noticed(checker, view, account, remaining_ms):
    account.records[1].append(record(**REJECTED))
    hear(view, record(**REJECTED))
    tell_gate(view, record(**REJECTED), remaining_ms)
    at_gate(view, fired=True)

    text = f"the gate was told that the part is there in {remaining_ms / 1e3:.3f} s"
    assert judged(checker, account) == [(3, text)]


def test_a_gate_that_is_not_told_is_noticed(checker, view, account):
    account.records[1].append(record(**REJECTED))
    hear(view, record(**REJECTED))
    at_gate(view, fired=True)
    assert judged(checker, account) == [(3, "the gate was not told of REJECT")]

    again = new_checker(view)
    again.hindered.add(CAPTURED_S, DEADLINE_S)
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
