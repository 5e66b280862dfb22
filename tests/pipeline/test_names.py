from __future__ import annotations

import os

from pipeline.names import printable


def test_bytes_that_are_not_utf_8_are_shown_and_all_else_stays() -> None:
    assert printable(os.fsdecode(b"ri\xdf/1.png")) == r"ri\xdf/1.png"
    assert printable("Riß \u2026 1.png") == "Riß \u2026 1.png"
