from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from calibration.images import SkippedPart
from evaluation.cases import Extremes
from evaluation.datasets import GOOD, LabelledPart
from evaluation.evaluate import (
    LabelledParts,
    Run,
    collect,
    count_verdicts,
    faults_of,
    figures_of,
    run,
)
from evaluation.metrics import pixel_levels
from pipeline.errors import InputError
from stages.bundle import load_bundle
from stages.inspector import Inspection, Inspector


def labelled(*parts: tuple[str, bool], kinds: tuple[str, ...] = ()) -> LabelledParts:
    """Parts of these kinds, each with a square defect and, where wanted, a mask that shows it."""
    found = []
    for kind, with_mask in parts:
        mask = np.zeros((16, 16), bool)
        mask[4:8, 4:8] = kind != GOOD
        image = np.zeros((16, 16, 1), np.uint8)
        fault = "" if with_mask else "no mask"
        found.append(LabelledPart(kind, kind, image, mask if with_mask else None, fault))
    return LabelledParts(tuple(found), (), kinds, "parts")


def done(parts: LabelledParts, scores: list[float], shown: dict[str, float]) -> Run:
    """Maps that show the defects of a kind with this probability on a ground of 0.1."""
    pixels = {}
    for part in parts.parts:
        if part.mask is not None:
            anomaly_map = np.where(part.mask, shown.get(part.kind, 0), 0.1).astype(np.float16)
            levels = pixel_levels([anomaly_map], [part.mask])
            pixels[part.kind] = pixels[part.kind] + levels if part.kind in pixels else levels
    return Run(np.array(scores), pixels, 20.0)


PARTS = labelled((GOOD, True), (GOOD, True), ("dent", True), ("stain", True), ("stain", False))
DONE = done(PARTS, [0.1, 0.4, 0.3, 0.8, 0.9], {"dent": 0.9, "stain": 0.05})


def test_overall_metrics_by_hand() -> None:
    metrics = figures_of(PARTS, DONE).overall
    assert (metrics.good, metrics.defective, metrics.with_mask) == (2, 3, 4)
    assert metrics.image_auroc == pytest.approx(5 / 6)
    # One region of two lies above all good pixels, the other below them.
    assert metrics.pixel_auroc == pytest.approx(0.5)
    assert metrics.pro_30 == pytest.approx(0.5)
    assert metrics.pro_5 == pytest.approx(0.5)
    assert metrics.images_per_second == 20.0


def test_each_kind_is_compared_with_all_good_parts() -> None:
    per_type = figures_of(PARTS, DONE).per_type
    assert list(per_type) == ["dent", "stain"]
    assert [(m.good, m.defective, m.with_mask) for m in per_type.values()] == [(2, 1, 3), (2, 2, 3)]
    assert per_type["dent"].image_auroc == pytest.approx(0.5)
    assert per_type["dent"].pixel_auroc == pytest.approx(1.0)
    assert per_type["stain"].image_auroc == pytest.approx(1.0)
    assert per_type["stain"].pixel_auroc == pytest.approx(0.0)


def test_metrics_without_good_parts_or_masks_are_none() -> None:
    parts = labelled(("dent", False))
    alone = figures_of(parts, done(parts, [0.3], {})).overall
    assert (alone.image_auroc, alone.image_ap, alone.pixel_auroc, alone.pro_30) == (None,) * 4


def test_a_score_on_the_threshold_passes() -> None:
    counts = count_verdicts(PARTS, DONE, 0.3, "calibration")
    assert (counts.defective, counts.escapes, counts.good, counts.overkill) == (3, 1, 2, 1)
    assert count_verdicts(PARTS, DONE, 0.4, "calibration").overkill == 0


def test_what_a_data_set_lacks_is_named() -> None:
    parts = labelled((GOOD, True), ("dent", False), kinds=(GOOD, "dent", "stain"))
    found = [fault.text for fault in faults_of(parts)]
    assert found == [
        "images without a usable mask, left out of the pixel metrics",
        "no mask of kind dent can be used: it has no pixel metrics",
        "no image of kind stain can be used: it is in no table",
    ]
    assert faults_of(labelled((GOOD, True), ("dent", True))) == ()


@pytest.mark.parametrize(("kind", "lacking"), [(GOOD, "no defective part"), ("dent", "no good")])
def test_a_data_set_of_one_class_says_so(kind: str, lacking: str) -> None:
    assert any(fault.text.startswith(lacking) for fault in faults_of(labelled((kind, True))))


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


def collected() -> LabelledParts:
    return collect(some_parts(), [GOOD], "parts", lambda _: None)


def test_parts_are_collected_with_what_cannot_be_used_named() -> None:
    read: list[int] = []
    found = collect(some_parts(), [GOOD], "parts", read.append)
    assert [part.name for part in found.parts] == [f"part {index}" for index in range(5)]
    assert found.skipped == (SkippedPart("part 5", "not an image"),)
    assert found.mask_faults == (SkippedPart("part 0", "no mask"),)
    assert sum(read) == 6


def test_without_any_usable_part_there_is_nothing_to_evaluate() -> None:
    with pytest.raises(InputError, match="parts: none of 1 images can be used; the first, x: why"):
        collect([SkippedPart("x", "why")], [], "parts", lambda _: None)


def test_parts_go_through_the_networks(tiny_line: Path) -> None:
    inspector = Inspector(load_bundle(tiny_line.parent / "bundle"), "cpu", "float32")
    advanced: list[int] = []
    parts, extremes = collected(), Extremes(5)
    found = run(inspector, parts, 2, extremes, advanced.append)
    assert sum(advanced) == 5
    assert found.images_per_second > 0
    alone = inspector.inspect(parts.parts[0].image[None])
    assert found.scores.shape == (5,)
    assert found.scores[0] == pytest.approx(float(alone.scores[0]), rel=1e-5)
    case = next(case for case in extremes.hardest(GOOD) if case.part.name == "part 0")
    np.testing.assert_allclose(case.anomaly_map, alone.anomaly_maps[0], atol=1e-3)
    assert found.pixels[GOOD].negatives.sum() == 4 * 64 * 64, "part 0 has no mask"


def test_a_score_that_is_not_finite_ends_the_evaluation(tiny_line: Path) -> None:
    inspector = BrokenInspector(load_bundle(tiny_line.parent / "bundle"), "cpu", "float32")
    with pytest.raises(InputError, match="part 0: the networks gave a score"):
        run(inspector, collected(), 2, Extremes(0), lambda _: None)


def test_names_that_are_not_utf_8_can_be_written() -> None:
    image = np.zeros((4, 4, 1), np.uint8)
    part = LabelledPart("test/ri\udcdf/1.png", "ri\udcdf", image, None, "no mask 1\udcdf.png")
    skipped = SkippedPart("ri\udcdf.png", "ri\udcdf.png is empty")
    found = collect([part, skipped], {"ri\udcdf"}, "folder ri\udcdf", lambda _count: None)
    assert found.source == r"folder ri\xdf"
    assert found.kinds == (r"ri\xdf",)
    assert found.parts[0].kind == r"ri\xdf"
    repr_of_all = [*found.parts[0][:2], found.parts[0].mask_fault, *found.skipped[0]]
    assert all(r"\xdf" in text and text.isascii() for text in repr_of_all)
