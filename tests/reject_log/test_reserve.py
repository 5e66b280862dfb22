from __future__ import annotations

from pathlib import Path

import pytest

from reject_log.reserve import Reserve
from small_disk import fill, small_disk


@pytest.mark.parametrize("reserve", [Reserve(1 << 16, 1.0), Reserve(1 << 30, 1 / 64)])
def test_a_full_disk_lacks_the_bytes_or_the_share_that_was_to_stay_free(
    reserve: Reserve, tmp_path: Path
) -> None:
    with small_disk(tmp_path, "4m"):
        assert reserve.lack(tmp_path) == ""
        ballast = fill(tmp_path)
        assert reserve.lack(tmp_path) == "less than 0.0625 MB are free"
        ballast.unlink()
        assert reserve.lack(tmp_path) == ""


def test_a_file_system_that_states_no_size_lacks_nothing() -> None:
    assert Reserve(1 << 30, 1.0).lack(Path("/proc")) == ""


def test_a_folder_that_is_not_there_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Reserve(1, 1.0).lack(tmp_path / "nowhere")
