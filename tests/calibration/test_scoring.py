from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.images import PreparedPart
from calibration.scoring import inspect_in_batches, score_parts
from stages.bundle import load_bundle
from stages.inspector import Inspector


@pytest.fixture(scope="module")
def inspector(tiny_line: Path) -> Inspector:
    return Inspector(load_bundle(tiny_line.parent / "bundle"), "cpu", "float32")


@pytest.fixture(scope="module")
def parts() -> list[PreparedPart]:
    rng = np.random.default_rng(0)
    return [PreparedPart(str(i), rng.integers(0, 255, (64, 64, 1), np.uint8)) for i in range(7)]


def test_every_part_is_inspected_once_and_in_order(
    inspector: Inspector, parts: list[PreparedPart]
) -> None:
    batches = list(inspect_in_batches(inspector, iter(parts), 3))
    assert [len(batch.parts) for batch in batches] == [3, 3, 1]
    assert [part.name for batch in batches for part in batch.parts] == list("0123456")
    assert all(batch.seconds > 0 for batch in batches)
    assert list(inspect_in_batches(inspector, iter([]), 3)) == []


def test_scores_are_those_of_the_inspector_for_every_batch_size(
    inspector: Inspector, parts: list[PreparedPart]
) -> None:
    done: list[int] = []
    scores = score_parts(inspector, parts, 3, done.append)
    assert done == [3, 3, 1]
    alone = [inspector.inspect(part.image[None]).scores[0] for part in parts]
    np.testing.assert_allclose(scores, alone, rtol=1e-5)
    assert len(set(scores)) == len(parts)
