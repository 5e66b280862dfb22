"""What a fault has cost: counted when the campaign has ended and every part has its verdict."""

from __future__ import annotations

from chaos.ledger import Account
from chaos.trial import Outcome
from chaos.view import PlcView
from pipeline.messages import Verdict


def count_cost(outcome: Outcome, accounts: dict[str, Account], view: PlcView) -> None:
    """Fill in the counts over the parts that the fault may have touched: captured before the
    recovery, and without a verdict when it began.
    """
    fired = {event.key for event in view.gates if event.fired}
    for session, account in accounts.items():
        for sequence, records in account.records.items():
            captured_s = account.captured_about_s(sequence)
            settled = account.decided_s(sequence) < outcome.began_s
            if captured_s is None or captured_s > outcome.over_s or settled or not records:
                continue
            heard = view.verdicts.get((session, sequence), [])
            outcome.parts += 1
            outcome.uninspected += records[0].verdict is Verdict.UNINSPECTED
            outcome.undelivered += not heard
            passed = any(item.payload.verdict is Verdict.PASS for item in heard)
            outcome.lost_good += passed and (session, sequence) in fired
