"""The number that ties a birth of the edge node to its death (bdSeq)."""

from __future__ import annotations

import logging
import os
from pathlib import Path

LARGEST = 255


class BirthSequence:
    """Counts connections from 0 to 255 and again from 0, across restarts of the process: the late
    death of an earlier connection must not be taken for that of the present one.

    Without a file, or while its disk fails, the number is only remembered by the process.
    """

    def __init__(self, file: Path | None, log: logging.Logger) -> None:
        self._file, self._log = file, log
        self._last = self._stored = self._read()

    def next(self) -> int:
        """The number for an attempt to connect, kept before it is used."""
        number = 0 if self._last is None else (self._last + 1) % (LARGEST + 1)
        if self._file is not None and number != self._stored:
            self._write(self._file, number)
            self._stored = number
        return number

    def used(self, number: int) -> None:
        """The broker has got it; the next attempt gets another one."""
        self._last = number

    def _read(self) -> int | None:
        if self._file is None:
            return None
        try:
            number = int(self._file.read_text(encoding="ascii"))
        except FileNotFoundError:  # the first start
            return None
        except (OSError, ValueError) as error:
            self._log.warning("%s is not readable, bdSeq starts at 0: %s", self._file, error)
            return None
        return number if 0 <= number <= LARGEST else None

    def _write(self, file: Path, number: int) -> None:
        whole = file.with_suffix(".new")
        try:
            whole.write_text(f"{number}\n", encoding="ascii")
            os.replace(whole, file)
        except OSError as error:
            self._log.warning("bdSeq %d is not kept: %s", number, error)
