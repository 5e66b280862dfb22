"""The fifth statement: no process, socket, shared memory or file is left behind; and the reject
log tells the same story as the ledger.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from pathlib import Path

from chaos.ledger import Account
from chaos.line import RunningLine, wait_for_end
from chaos.violation import Violation
from pipeline.config import LineConfig
from pipeline.errors import LineError
from pipeline.journal import UNFINISHED
from pipeline.messages import Reason, Verdict, VerdictRecord
from reject_log.images import images_folder
from reject_log.store import ReadStore, database_path

SHARED_MEMORY = Path("/dev/shm")
ENDING_S = 5.0
"""For a process that was told to end, or is being killed, when the line is well again."""


def shared_memory() -> set[str]:
    """Names of shared memory on this machine that belongs to this user."""
    if not SHARED_MEMORY.is_dir():
        return set()
    return {item.name for item in SHARED_MEMORY.iterdir() if item.lstat().st_uid == os.getuid()}


def left_behind(line: RunningLine) -> list[Violation]:
    """What a line that has ended in order should have taken with it."""
    config = line.config
    found = [f"process {pid} ({command})" for pid, command in line.processes().items()]
    found += [str(item) for item in line.temporary.rglob("*")]
    found += [str(item) for item in config.ledger_folder.glob(f"*{UNFINISHED}")]
    if config.run_dir.exists():
        found += [str(item) for item in (config.run_dir, *config.run_dir.rglob("*"))]
    if config.data_folder.exists():
        found += [str(item) for item in images_folder(config).glob(".unfinished/*")]
        found += [str(item) for item in config.data_folder.glob("*.sqlite-*")]
    return [Violation(5, f"left behind: {item}") for item in found]


def left_meanwhile(line: RunningLine, shared_before: set[str]) -> list[Violation]:
    """What is there beside a line that runs again and nobody uses: ended processes' leftovers."""
    ended_late = wait_for_end(line.strays(), ENDING_S)
    found = [f"process {pid}" for pid in ended_late]
    files = [SHARED_MEMORY / name for name in shared_memory() - shared_before]
    files += [item for item in line.temporary.rglob("*") if item.is_file()]
    if files:
        used = _used()
        found += [str(item) for item in files if str(item) not in used and item.exists()]
    return [Violation(5, f"left behind by the recovery: {item}") for item in found]


def _used() -> set[str]:
    """Files that any process has open or mapped, as far as this user may see."""
    found: set[str] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            maps = (entry / "maps").read_text(encoding="utf-8", errors="replace")
            found |= {text.split(maxsplit=5)[5] for text in maps.splitlines() if "/" in text}
            for item in (entry / "fd").iterdir():
                with contextlib.suppress(OSError):  # closed meanwhile
                    found.add(os.readlink(item))
    return found


def reject_log_differs(config: LineConfig, accounts: dict[str, Account]) -> list[Violation]:
    """Where the reject log of an ended line has other verdicts than its ledger."""
    try:
        with ReadStore(database_path(config)) as store:
            logged = Counter(_story(record) for record in store.each(0, tuple(Verdict)))
    except LineError as error:
        return [Violation(1, f"the reject log cannot be read: {error}")]
    ledger = Counter(
        _story(record)
        for account in accounts.values()
        for records in account.records.values()
        for record in records
    )
    missing, surplus = ledger - logged, logged - ledger
    return [
        Violation(1, f"{differing.total()} verdicts are in the {where}, first {min(differing)[:3]}")
        for differing, where in (
            (missing, "ledger and not in the reject log"),
            (surplus, "reject log and not in the ledger"),
        )
        if differing
    ]


def _story(record: VerdictRecord) -> tuple[str, int, Verdict, Reason, float]:
    score = -math.inf if record.score is None else record.score
    return record.part.session, record.part.sequence, record.verdict, record.reason, score
