"""What a fault has cost is counted over the parts that it may have touched, and over no others."""

from __future__ import annotations

from chaos.cost import count_cost
from chaos.ledger import Account
from chaos.trial import Outcome
from chaos.view import GateEvent, Heard, PlcView
from chaos_parts import REJECTED, SESSION, announced, record
from pipeline.messages import Reason, Verdict
from plc.payloads import verdict_payload

CAPTURED_S = {1: 99.0, 2: 99.9, 3: 100.5, 4: 101.0, 5: 101.5, 6: 103.5}
"""Part 1 is decided before the fault, part 6 is captured after the recovery."""


def test_parts_between_the_fault_and_the_recovery_and_those_in_flight(view: PlcView) -> None:
    outcome = Outcome(1, "kill decision", "", SESSION, 2, 0.5, began_s=100.0, over_s=103.0)
    account = Account(last=6)
    for sequence, captured_s in CAPTURED_S.items():
        account.announced[sequence] = announced(sequence, captured_s)
        account.records[sequence].append(record(sequence))
    lost = {"verdict": Verdict.UNINSPECTED, "reason": Reason.DEADLINE, "score": None}
    account.records[3] = [record(3, **lost)]
    account.records[4] = [record(4, **REJECTED)]
    for sequence in (1, 2, 5, 6):
        heard = Heard(CAPTURED_S[sequence] + 0.21, verdict_payload(record(sequence)))
        view.verdicts[SESSION, sequence].append(heard)
    for sequence in (1, 4, 5):
        view.gates.append(GateEvent(110.0, (SESSION, sequence), fired=True, looked_s=109.9))

    count_cost(outcome, {SESSION: account}, view)

    assert outcome.parts == 4
    assert outcome.uninspected == 1
    assert outcome.undelivered == 2
    assert outcome.lost_good == 1
