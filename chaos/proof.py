"""The second statement: no PASS for a part whose score was not computed in time by the calibrated
model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from chaos.ledger import Account
from chaos.violation import Violation
from pipeline.messages import VerdictRecord
from plc.gate import Key
from stages.decision.rule import DecisionRule

COMPUTING = ("preprocessing", "reconstruction", "segmentation")


def unproven(
    key: Key, account: Account, record: VerdictRecord, rule: DecisionRule, deadline_ms: int
) -> Iterator[Violation]:
    """What a PASS lacks. `rule`: the active calibration; `deadline_ms`: the line's longest."""
    if key[1] not in account.announced:
        yield Violation(2, "PASS for a part that was never announced", key)
        return
    if record.score is None or not math.isfinite(record.score):
        yield Violation(2, "PASS without a score", key)
    elif record.score > record.threshold:
        yield Violation(2, f"PASS with score {record.score} above {record.threshold}", key)
    if record.bundle_id != rule.bundle_id:
        yield Violation(2, f"PASS by model {record.bundle_id}, which is not calibrated", key)
    if (record.calibration_id, record.threshold) != (rule.calibration_id, rule.threshold):
        text = f"PASS by calibration {record.calibration_id}, threshold {record.threshold}"
        yield Violation(2, f"{text}, which is not the active one", key)
    yield from _not_in_time(key, account, record, deadline_ms)


def _not_in_time(
    key: Key, account: Account, record: VerdictRecord, deadline_ms: int
) -> Iterator[Violation]:
    """Every stage's work and the decision lie between the capture and the deadline."""
    sent_s = {stamp.stage: stamp.sent_monotonic_ns / 1e9 for stamp in record.stamps}
    missing = [stage for stage in COMPUTING if stage not in sent_s]
    if missing:
        yield Violation(2, f"PASS without the work of {', '.join(missing)}", key)
    captured_s, deadline_s = account.captured_s(key[1]), account.deadline_s(key[1])
    if any(stamp.received_monotonic_ns / 1e9 < captured_s for stamp in record.stamps):
        yield Violation(2, "PASS by work that was done before the part's capture", key)
    allowed_ms = round(1e3 * (deadline_s - captured_s))
    if allowed_ms > deadline_ms:
        yield Violation(2, f"PASS with a deadline {allowed_ms} ms after the capture", key)
    ends_s = (account.decided_s(key[1]), *sent_s.values())
    if record.late or not all(at_s <= deadline_s for at_s in ends_s):
        yield Violation(2, "PASS after the part's deadline", key)
