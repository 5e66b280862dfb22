"""Memory of the processes of a line, as the kernel accounts for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SUPERVISOR = "supervisor"


@dataclass(frozen=True)
class Memory:
    """Resident memory in MB (10^6 bytes): `resident_mb` counts a page that several processes share
    in each of them; `own_mb` shares it out among them, so that it adds up.
    """

    resident_mb: float
    own_mb: float

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.resident_mb + other.resident_mb, self.own_mb + other.own_mb)


def total(processes: Mapping[str, Memory]) -> Memory:
    """All processes together."""
    return sum(processes.values(), Memory(0.0, 0.0))


def line_memory(supervisor: int) -> dict[str, Memory]:
    """The processes of the line that this one supervises, by name; those that just end are left
    out. Raises FileNotFoundError where the supervisor itself has ended.
    """
    found = {SUPERVISOR: memory_of(supervisor)}
    for pid in descendants(supervisor):
        try:
            found[process_name(pid)] = memory_of(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended between the two looks
    return found


def memory_of(pid: int) -> Memory:
    """One process. Raises FileNotFoundError or ProcessLookupError where there is none."""
    text = (PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii")
    sizes = {}
    for line in text.splitlines()[1:]:
        name, _, size = line.partition(":")
        sizes[name] = int(size.split()[0]) * 1024 / 1e6
    return Memory(sizes["Rss"], sizes["Pss"])


def descendants(pid: int) -> Iterator[int]:
    """Children, their children, and so on."""
    for task in (PROC / str(pid) / "task").glob("*/children"):
        for child in _children(task):
            yield child
            yield from descendants(child)


def _children(task: Path) -> list[int]:
    """Of one thread; none where it ended between the two looks."""
    try:
        return [int(child) for child in task.read_text(encoding="ascii").split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def process_name(pid: int) -> str:
    """Name of a stage's process, as the supervisor calls it; of any other its number."""
    words = (PROC / str(pid) / "cmdline").read_text(encoding="utf-8").split("\0")
    if "--stage" not in words:
        return f"process {pid}"
    stage, worker = (words[words.index(option) + 1] for option in ("--stage", "--worker"))
    return stage if worker == "0" else f"{stage}.{worker}"
