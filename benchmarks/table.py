"""Plain text tables, whole at any width of the terminal, and lists in arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, the first flush left, the others flush right."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def names_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """A reader of names with commas between, each of `known` and taken once, for argparse."""

    def names(text: str) -> list[str]:
        given = list(dict.fromkeys(name.strip() for name in text.split(",")))
        unknown = [name for name in given if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"{', '.join(map(repr, unknown))}: choose of {', '.join(known)}"
            )
        return given

    return names


def list_of(read: Callable[[str], T]) -> Callable[[str], list[T]]:
    """A reader of values with commas between, each by `read` and taken once, for argparse."""

    def comma_separated(text: str) -> list[T]:
        return list(dict.fromkeys(read(part.strip()) for part in text.split(",")))

    return comma_separated
