"""Checkpoints of a training: written whole or not at all, read back without running code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import InputError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers and text to `path`; an older checkpoint stays until this is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("wb") as out:
        torch.save(state, out)
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote, on the CPU; InputError if it is missing or damaged."""
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}: start the training without --resume")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise InputError(
            f"the checkpoint {path} cannot be read ({error}): start without --resume"
        ) from error
    assert isinstance(state, dict)
    return state
