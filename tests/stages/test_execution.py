"""What a calibration calls each way to compute."""

from __future__ import annotations

import pytest
import torch

from stages.execution import Execution


@pytest.mark.parametrize(
    ("device", "dtype", "word"),
    [
        ("cpu", torch.float32, "float32"),
        ("cpu", torch.bfloat16, "bfloat16"),
        ("cuda:1", torch.float32, "cuda-float32"),
        ("cuda:1", torch.bfloat16, "cuda-bfloat16"),
    ],
)
def test_each_way_to_compute_has_a_word_of_its_own(
    device: str, dtype: torch.dtype, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.execution.choose_device", torch.device)
    monkeypatch.setattr("stages.execution.compute_dtype", lambda _device, _precision: dtype)
    monkeypatch.setattr("stages.execution._compute_reproducibly", lambda: None)
    assert Execution(device).computes_in == word
