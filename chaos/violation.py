"""One broken statement of docs/chaos.md."""

from __future__ import annotations

from dataclasses import dataclass

from plc.gate import Key


@dataclass(frozen=True)
class Violation:
    """One broken statement, of one part where it has one."""

    statement: int
    text: str
    key: Key | None = None

    def __str__(self) -> str:
        part = "" if self.key is None else f"part {self.key[1]} of {self.key[0]}: "
        return f"statement {self.statement}: {part}{self.text}"
