"""A lock that tells who has it, and that ends with its owner."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.lock_file import open_lock, other_owner, sign_lock


def test_the_second_one_is_told_who_has_it_until_it_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    first, second = open_lock(path), open_lock(path)
    assert other_owner(first) is None
    assert other_owner(second) == "", "not signed yet"
    sign_lock(first, "a name that is longer")
    sign_lock(first, "line 3")
    assert other_owner(second) == "line 3"
    os.close(first)
    assert other_owner(second) is None
    os.close(second)
    assert path.exists()
