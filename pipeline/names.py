"""Names of files as text: Linux lets a name be any bytes, what is shown and kept is UTF-8."""

from __future__ import annotations

import os


def printable(text: str) -> str:
    """The text with each byte that is not UTF-8, as in names of Latin-1 archives, as `\\xdf`."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
