from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from calibration.images import SkippedPart
from evaluation.datasets import GOOD, LabelledPart
from evaluation.evaluate import (
    ScoredPart,
    count_verdicts,
    metrics_of,
    metrics_per_type,
    score_labelled,
)
from pipeline.errors import InputError
from stages.bundle import load_bundle
from stages.inspector import Inspection, Inspector


def scored(kind: str, score: float, shown: float, with_mask: bool = True) -> ScoredPart:
    """A part whose map shows its defect, a square, with this probability on a ground of 0.1."""
    mask = np.zeros((16, 16), bool)
    mask[4:8, 4:8] = kind != GOOD
    anomaly_map = np.where(mask, np.float16(shown), np.float16(0.1))
    return ScoredPart(kind, kind, score, anomaly_map, mask if with_mask else None)


PARTS = [
    scored(GOOD, 0.1, 0.0),
    scored(GOOD, 0.4, 0.0),
    scored("dent", 0.3, 0.9),
    scored("stain", 0.8, 0.05),
    scored("stain", 0.9, 0.05, with_mask=False),
]


def test_overall_metrics_by_hand() -> None:
    metrics = metrics_of(PARTS)
    assert (metrics.good, metrics.defective, metrics.with_mask) == (2, 3, 4)
    assert metrics.image_auroc == pytest.approx(5 / 6)
    # One region of two lies above all good pixels, the other below them.
    assert metrics.pixel_auroc == pytest.approx(0.5)
    assert metrics.pro_30 == pytest.approx(0.5)
    assert metrics.pro_5 == pytest.approx(0.5)


def test_each_kind_is_compared_with_all_good_parts() -> None:
    per_type = metrics_per_type(PARTS)
    assert list(per_type) == ["dent", "stain"]
    assert [(m.good, m.defective, m.with_mask) for m in per_type.values()] == [(2, 1, 3), (2, 2, 3)]
    assert per_type["dent"].image_auroc == pytest.approx(0.5)
    assert per_type["dent"].pixel_auroc == pytest.approx(1.0)
    assert per_type["stain"].image_auroc == pytest.approx(1.0)
    assert per_type["stain"].pixel_auroc == pytest.approx(0.0)


def test_metrics_without_good_parts_or_masks_are_none() -> None:
    alone = metrics_of([scored("dent", 0.3, 0.9, with_mask=False)])
    assert (alone.image_auroc, alone.image_ap, alone.pixel_auroc, alone.pro_30) == (None,) * 4


def test_a_score_on_the_threshold_passes() -> None:
    counts = count_verdicts(PARTS, 0.3, "calibration")
    assert (counts.defective, counts.escapes, counts.good, counts.overkill) == (3, 1, 2, 1)
    assert count_verdicts(PARTS, 0.4, "calibration").overkill == 0


class BrokenInspector(Inspector):
    """Networks whose weights give no numbers."""

    def inspect(self, images: np.ndarray) -> Inspection:
        """As the real one, with scores that are not finite."""
        found = super().inspect(images)
        return found._replace(scores=np.full_like(found.scores, np.nan))


def some_parts() -> Iterator[LabelledPart | SkippedPart]:
    rng = np.random.default_rng(0)
    for index in range(5):
        image = rng.integers(0, 255, (64, 64, 1), np.uint8)
        mask = np.zeros((64, 64), bool) if index else None
        yield LabelledPart(f"part {index}", GOOD, image, mask, "" if index else "no mask")
    yield SkippedPart("part 5", "not an image")


def test_parts_go_through_the_networks_with_what_cannot_be_used_named(tiny_line: Path) -> None:
    inspector = Inspector(load_bundle(tiny_line.parent / "bundle"), "cpu", "float32")
    done: list[int] = []
    found = score_labelled(inspector, some_parts(), 2, done.append)
    assert [part.name for part in found.parts] == [f"part {index}" for index in range(5)]
    assert found.skipped == (SkippedPart("part 5", "not an image"),)
    assert found.mask_faults == (SkippedPart("part 0", "no mask"),)
    assert sum(done) == 6
    assert found.images_per_second > 0
    first = next(some_parts())
    assert isinstance(first, LabelledPart)
    alone = inspector.inspect(first.image[None])
    assert found.parts[0].score == pytest.approx(float(alone.scores[0]), rel=1e-5)
    np.testing.assert_allclose(found.parts[0].anomaly_map, alone.anomaly_maps[0], atol=1e-3)


def test_a_score_that_is_not_finite_ends_the_evaluation(tiny_line: Path) -> None:
    inspector = BrokenInspector(load_bundle(tiny_line.parent / "bundle"), "cpu", "float32")
    with pytest.raises(InputError, match="part 0: the networks gave a score"):
        score_labelled(inspector, some_parts(), 2, lambda _: None)
