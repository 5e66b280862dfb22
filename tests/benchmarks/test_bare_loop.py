"""The bare loop's figures: batches one after another, or with several in flight."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import bare_loop
from benchmarks.bare_loop import measure
from benchmarks.engine_timing import stream
from stages.bundle import load_bundle
from stages.inspector import Inspector

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = np.zeros((2, 64, 64, 1), np.uint8)


@pytest.mark.parametrize("in_flight", [False, True])
def test_a_gpu_gets_the_next_batch_before_the_one_in_hand_is_done(
    tiny_line: Path, monkeypatch: pytest.MonkeyPatch, in_flight: bool
) -> None:
    streamed: list[int] = []

    def streaming(inspector: Inspector, images: np.ndarray, batches: int) -> int:
        streamed.append(batches)
        return stream(inspector, images, batches)

    monkeypatch.setattr(bare_loop, "stream", streaming)
    inspector = Inspector(load_bundle(tiny_line.parent / "bundle"), "cpu", "float32")
    found = measure(inspector, IMAGES, 5, in_flight=in_flight)
    assert streamed == ([5] if in_flight else [])
    assert found["in_flight"] is in_flight
    assert found["images_per_second"] > 0
    for name in ("batch", "alone"):
        p50, p90, p99 = (found[f"{name}_ms_p{share}"] for share in (50, 90, 99))
        assert 0 < p50 <= p90 <= p99
