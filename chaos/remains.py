"""The fifth statement: no process, socket, shared memory or file is left behind; and the reject
log tells the same story as the ledger.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from chaos.checker import Violation
from chaos.ledger import Account
from chaos.line import stage_processes
from pipeline.config import LineConfig
from pipeline.errors import LineError
from pipeline.messages import Verdict, VerdictRecord
from reject_log.images import images_folder
from reject_log.store import ReadStore, database_path

SHARED_MEMORY = Path("/dev/shm")


def shared_memory() -> set[str]:
    """Names of shared memory on this machine that belongs to this user."""
    if not SHARED_MEMORY.is_dir():
        return set()
    return {item.name for item in SHARED_MEMORY.iterdir() if item.lstat().st_uid == os.getuid()}


def left_behind(config: LineConfig, supervisor: int) -> list[Violation]:
    """What a line that has ended in order should have taken with it."""
    found = [f"process {pid} ({stage})" for pid, stage in stage_processes(supervisor).items()]
    if config.run_dir.exists():
        found += [str(item) for item in (config.run_dir, *config.run_dir.rglob("*"))]
    if config.data_folder.exists():
        found += [str(item) for item in images_folder(config).glob(".unfinished/*")]
        found += [str(item) for item in config.data_folder.glob("*.sqlite-*")]
    return [Violation(5, f"left behind: {item}") for item in found]


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
    found = [Violation(1, f"{len(missing)} verdicts are not in the reject log")] if missing else []
    if surplus:
        found.append(Violation(1, f"{len(surplus)} verdicts are in the reject log alone"))
    return found


def _story(record: VerdictRecord) -> tuple[str, int, Verdict, float | None]:
    return record.part.session, record.part.sequence, record.verdict, record.score
