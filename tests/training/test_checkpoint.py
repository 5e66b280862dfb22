from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from full_disk import full_disk
from pipeline.errors import InputError, TrainingError
from training.checkpoint import load_checkpoint, save_checkpoint, set_aside


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {"step": 7, "rng": '{"a": 1}', "weights": {"w": torch.arange(3.0)}, "best": None}

    save_checkpoint(tmp_path / "deep" / "checkpoint.pt", state)
    loaded = load_checkpoint(tmp_path / "deep" / "checkpoint.pt")

    assert torch.equal(loaded.pop("weights")["w"], torch.arange(3.0))
    assert loaded == {"step": 7, "rng": '{"a": 1}', "best": None}


def test_a_full_disk_leaves_the_old_checkpoint_and_says_what_to_do(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})
    large = {"step": 2, "weights": torch.zeros(100_000)}

    with (
        full_disk(50_000),
        pytest.raises(TrainingError, match=r"checkpoint\.pt cannot be written .*room.*--resume"),
    ):
        save_checkpoint(path, large)

    assert load_checkpoint(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]  # nothing unfinished takes up room
    assert save_checkpoint(path, large) == path.stat().st_size > 400_000
    assert load_checkpoint(path)["step"] == 2


def test_a_first_checkpoint_that_cannot_be_written_speaks_of_no_earlier_one(tmp_path: Path) -> None:
    large = {"weights": torch.zeros(100_000)}

    with full_disk(50_000), pytest.raises(TrainingError, match="start again where") as found:
        save_checkpoint(tmp_path / "checkpoint.pt", large)

    assert "last checkpoint" not in str(found.value)


def test_a_checkpoint_that_is_set_aside_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    set_aside(path)
    for step in (1, 2):
        save_checkpoint(path, {"step": step})
        set_aside(path)

    assert [item.name for item in tmp_path.iterdir()] == ["checkpoint.pt.before"]
    assert load_checkpoint(tmp_path / "checkpoint.pt.before") == {"step": 2}


def test_a_folder_that_cannot_be_made_is_a_training_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of the folder")

    with pytest.raises(TrainingError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "checkpoint.pt", {"step": 1})


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"identity": "as before", "trainer": {"rng": "{}"}}, path)

    with pytest.raises(InputError, match=r"another version.*without --resume"):
        load_checkpoint(path)


def test_a_missing_checkpoint_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without --resume"):
        load_checkpoint(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a checkpoint",
        b"PK\x03\x04 cut",
        *(bytes([first]) * 500 for first in (0, 0x2E, 0x30, 0x65, 0x68, 0x80)),
        *(pickle.dumps({"step": 1}, protocol) for protocol in range(6)),
    ],
)
def test_a_damaged_checkpoint_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)

    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(path)


def test_a_truncated_checkpoint_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"weights": torch.zeros(5000)})
    path.write_bytes(path.read_bytes()[:6000])

    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(path)


def test_zeroed_bytes_within_a_tensor_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"weights": torch.ones(5000)})
    content = bytearray(path.read_bytes())
    content[8000:9000] = bytes(1000)
    path.write_bytes(content)

    with pytest.raises(InputError, match=r"cannot be read \(.* is damaged\)"):
        load_checkpoint(path)


def test_a_whole_archive_of_something_else_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"h\x05.")  # a value that was never stored
        archive.writestr("archive/version", b"3")

    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"trainer": Path("anything but tensors")}, path)

    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(path)
