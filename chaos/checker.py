"""The statements about every part, checked over what the PLC saw and the line's own ledger.

1. announced = PASS + REJECT + UNINSPECTED, each once, in the PLC's view or counted as undelivered
   while the broker was away; and announced is what the camera's process has numbered
2. no PASS for a part whose score was not computed in time by the calibrated model (`chaos.proof`)
3. no gate fired for a wrong or expired part (`chaos.gates`), nor told to

The fourth (signs and recovery) belongs to each fault (`chaos.trial`), the fifth to the end
(`chaos.remains`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from chaos.gates import CLOCKS_S, GateChecker
from chaos.ledger import Account
from chaos.proof import unproven
from chaos.spans import Spans
from chaos.view import PlcView
from chaos.violation import Violation
from pipeline.config import LineConfig
from pipeline.messages import Reason, Verdict, VerdictRecord
from plc.gate import Key
from plc.payloads import VerdictPayload, verdict_payload
from stages.decision.rule import DecisionRule

GRACE_S = 3.0
"""After its deadline, or its verdict where that comes later, a part may be on its way into ledger
and view, not longer."""
MISSED_S = 1.5
"""A word that was spoken so near to the PLC's absence may have been lost with the connection."""
EXPIRING_S = 0.25
"""A verdict that is decided so shortly before its deadline may expire before it can be sent."""
SLOW_S = 0.5
"""What a PLC on a busy machine hears so late may as well have expired at the broker."""


class Checker:
    """Judges every part once, as soon as it must have come to its end; and once more at the end
    whether it has still one verdict only. `rule`: the active calibration.
    """

    def __init__(self, config: LineConfig, view: PlcView, rule: DecisionRule) -> None:
        self._config, self._view, self._rule = config, view, rule
        self._judged: set[Key] = set()
        self._ambiguous: set[Key] = set()
        self.killed_s: dict[str, float] = {}
        """Sessions that were killed, and when: no further word of their parts is due."""
        self.hindered = Spans()
        """While verdicts may fail to get to the broker."""
        self._slow = Spans()
        """While what the broker has taken may expire there, since the PLC is slow to fetch it."""
        self._gates = GateChecker(view)

    def judge(
        self, accounts: dict[str, Account], read_s: float, *, final: bool = False
    ) -> list[Violation]:
        """The violations since the last call. `read_s`: when the accounts were read. `final`: the
        line has ended, everything is due.
        """
        found: list[Violation] = []
        self._note_slow(accounts)
        for session, account in accounts.items():
            found += self._parts(session, account, read_s, final)
        known_s = math.inf if final else read_s - GRACE_S
        found += self._unknown(accounts, known_s)
        found += self._gates.judge(accounts, math.inf if final else read_s)
        if final:
            found += self._gates.missing()
            found += self._given_out(accounts)
        return found

    def uncounted(
        self, accounts: dict[str, Account], numbered: dict[str, int]
    ) -> Iterator[Violation]:
        """Sessions that ended in order, of which the ledger knows other parts than the camera's
        process has numbered by its own count.
        """
        for session, last in numbered.items():
            known = accounts[session].last if session in accounts else 0
            if known != last and session not in self.killed_s:
                text = f"the camera numbered {last} parts of {session}, the ledger has {known}"
                yield Violation(1, text)

    def _note_slow(self, accounts: dict[str, Account]) -> None:
        for key, heard in list(self._view.verdicts.items()):
            account = accounts.get(key[0])
            if account is None or key in self._judged:
                continue
            decided_s, came_s = account.decided_s(key[1]), heard[0].at_s
            if came_s - decided_s > SLOW_S:
                self._slow.add(decided_s - MISSED_S, came_s + MISSED_S)

    def _parts(
        self, session: str, account: Account, read_s: float, final: bool
    ) -> Iterator[Violation]:
        decided_s = read_s - GRACE_S
        captured_s = decided_s - self._config.timing.deadline_ms / 1e3
        for sequence in range(1, (account.last if final else self._told(session, account)) + 1):
            key = session, sequence
            over = final or _is_over(account, sequence, captured_s, decided_s)
            due = over and key not in self._judged
            if due or final:
                yield from self._once(key, account)
            if due:
                self._judged.add(key)
                yield from self._part(key, account)
        if final and session not in self.killed_s:
            yield from self._unconfirmed(session, account)

    def _told(self, session: str, account: Account) -> int:
        """Up to which part the PLC's thread has heard all that the line said: a starved PLC is
        behind. Of an earlier session nothing more is to come.
        """
        if session != self._view.session:
            return account.last
        return min(account.last, self._view.settled.get(session, 0))

    def _once(self, key: Key, account: Account) -> Iterator[Violation]:
        """One announcement, one verdict, and never another one."""
        if key in self._ambiguous:
            return
        count = len(account.records.get(key[1], []))
        heard = [_story(item.payload) for item in self._view.verdicts.get(key, [])]
        rejected = [item.payload for item in self._view.rejects.get(key, [])]
        texts = []
        if count != 1:
            texts.append(f"has {count} verdicts in the ledger")
        if key[1] in account.ambiguous:
            texts.append("was announced twice, for two captures")
        if any(other != heard[0] for other in heard):
            texts.append("the PLC was given two different verdicts")
        if len({(item.verdict, item.reason_code, item.deadline) for item in rejected}) > 1:
            texts.append("the gate was told two different things")
        if texts:
            self._ambiguous.add(key)
        yield from (Violation(1, text, key) for text in texts)

    def _part(self, key: Key, account: Account) -> Iterator[Violation]:
        records, heard = account.records.get(key[1], []), self._view.verdicts.get(key, [])
        if len(records) != 1:
            return  # said already
        record = records[0]
        if heard and _story(heard[0].payload) != verdict_payload(record):
            said = _said(heard[0].payload)
            yield Violation(1, f"the PLC heard {said}, the ledger has another verdict", key)
        if not heard and (wrong := self._absence(key, account, record)):
            yield Violation(1, f"{record.verdict} ({record.reason}) {wrong}", key)
        yield from self._told_gate(key, account, record)
        if record.verdict is Verdict.PASS:
            deadline_ms = self._config.timing.deadline_ms
            yield from unproven(key, account, record, self._rule, deadline_ms)
        elif record.verdict is Verdict.REJECT and record.reason is not Reason.ABOVE_THRESHOLD:
            yield Violation(2, f"REJECT for {record.reason}", key)

    def _absence(self, key: Key, account: Account, record: VerdictRecord) -> str:
        """What is wrong with a verdict that is not in the PLC's view; empty where it may be missing
        there, and is known to be.
        """
        session, sequence = key
        named = key in self._view.undelivered or sequence in account.undelivered
        decided_s = account.decided_s(sequence)
        killed_s = self.killed_s.get(session)
        if killed_s is not None and (named or not decided_s <= killed_s - MISSED_S or record.late):
            return ""  # the next session's status tells the PLC to forget them
        fetched_late = sequence in account.delivered and decided_s in self._slow
        if fetched_late or self._view.was_away(decided_s, MISSED_S):
            return ""
        if not named:
            return "never came to the PLC"
        left_s = account.deadline_s(sequence) - decided_s
        expired = record.late or not left_s > EXPIRING_S
        if expired or decided_s in self.hindered:
            return ""
        return "is named as undelivered, though nothing hindered its delivery"

    def _told_gate(self, key: Key, account: Account, record: VerdictRecord) -> Iterator[Violation]:
        """The gate is told of REJECT and UNINSPECTED and of nothing else, and not after the part
        was there.
        """
        heard, told = self._view.verdicts.get(key, []), self._view.rejects.get(key, [])
        decided_s, deadline_s = account.decided_s(key[1]), account.deadline_s(key[1])
        for said in (item.payload for item in told):
            if (said.verdict, said.reason_code) != (record.verdict, record.reason):
                yield Violation(3, f"the gate was told {said.verdict} ({said.reason_code})", key)
        for item in told:
            left_s = item.payload.remaining_ms / 1e3
            if left_s <= 0 or item.at_s + left_s < deadline_s - CLOCKS_S:
                text = f"the gate was told that the part is there in {left_s:.3f} s"
                yield Violation(3, text, key)
        wanted = record.verdict is not Verdict.PASS and record.deadline_wall_ns is not None
        lost = decided_s in self.hindered or decided_s in self._slow
        lost = lost or self._view.was_away(decided_s, MISSED_S)
        if wanted and heard and not told and not lost:
            yield Violation(3, f"the gate was not told of {record.verdict}", key)

    def _unknown(self, accounts: dict[str, Account], before_s: float) -> Iterator[Violation]:
        """Verdicts in the PLC's view that no ledger has, and words to the gate about such parts."""
        verdicts, rejects = self._view.verdicts, self._view.rejects
        came = [(key, heard[0].at_s) for key, heard in list(verdicts.items())]
        came += [(key, told[0].at_s) for key, told in list(rejects.items())]
        for key, at_s in came:
            account = accounts.get(key[0])
            known = account is not None and key[1] <= account.last
            if not known and key not in self._judged and at_s < before_s:
                self._judged.add(key)
                yield Violation(1, "the PLC was given a verdict that no ledger has", key)

    def _given_out(self, accounts: dict[str, Account]) -> Iterator[Violation]:
        """Numbers that the PLC was told of and that never came to the ledger."""
        for session, last in self._view.given_out.items():
            known = accounts[session].last if session in accounts else 0
            if last > known and session not in self.killed_s:
                text = f"{last - known} parts up to this one were given out, and no ledger has them"
                yield Violation(1, text, (session, last))

    def _unconfirmed(self, session: str, account: Account) -> Iterator[Violation]:
        """Verdicts of a session that ended in order and of which the outbox knows no end."""
        for sequence in account.records:
            if sequence not in account.delivered and sequence not in account.undelivered:
                text = "is neither confirmed nor named as undelivered in the outbox"
                yield Violation(1, text, (session, sequence))


def _is_over(account: Account, sequence: int, captured_s: float, decided_s: float) -> bool:
    """Whether a part was captured before the one moment, and has no verdict from after the other: a
    part whose verdict came late, since decision stood still, is told as late.
    """
    captured_about_s = account.captured_about_s(sequence)
    if captured_about_s is None or captured_about_s >= captured_s:
        return False
    return not account.decided_s(sequence) >= decided_s


def _story(payload: VerdictPayload) -> VerdictPayload:
    """What is the same whenever a verdict is told."""
    return msgspec.structs.replace(payload, remaining_ms=None, sent_ms=0)


def _said(payload: VerdictPayload) -> tuple[str, str, float | None]:
    return str(payload.verdict), str(payload.reason_code), payload.score
