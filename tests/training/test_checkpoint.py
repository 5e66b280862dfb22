from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.errors import InputError
from training import checkpoint
from training.checkpoint import load_checkpoint, save_checkpoint


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {"step": 7, "rng": '{"a": 1}', "weights": {"w": torch.arange(3.0)}, "best": None}

    save_checkpoint(tmp_path / "deep" / "checkpoint.pt", state)
    loaded = load_checkpoint(tmp_path / "deep" / "checkpoint.pt")

    assert torch.equal(loaded.pop("weights")["w"], torch.arange(3.0))
    assert loaded == {"step": 7, "rng": '{"a": 1}', "best": None}


def test_a_failed_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})

    def full_disk(state: object, out: object) -> None:
        out.write(b"half of it")  # type: ignore[attr-defined]
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, {"step": 2})

    assert load_checkpoint(path) == {"step": 1}


def test_a_missing_checkpoint_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without --resume"):
        load_checkpoint(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
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


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"trainer": Path("anything but tensors")}, path)

    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(path)
