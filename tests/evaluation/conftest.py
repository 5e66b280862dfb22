"""An evaluation with made-up figures, for the tests of what is shown of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from calibration.images import SkippedPart
from evaluation.results import BundleResult, Evaluation, Fault, Figures, Metrics, VerdictCounts

COUNTS = VerdictCounts(0.031, "cal1", defective=103, escapes=7, good=190, overkill=2)
SKIPPED = tuple(SkippedPart(f"bad_{i}.png", "not an image") for i in range(12))
WITHOUT_MASK = (SkippedPart("test/uneven/1.jpg", "mask 1_mask.png is empty"),)
FAULTS = (
    Fault("images that could not be used", SKIPPED),
    Fault("images without a usable mask, left out of the pixel metrics", WITHOUT_MASK),
    Fault("no image of kind dent can be used: it is in no table"),
)

MakeEvaluation = Callable[..., Evaluation]


def bundle(number: int, paradigms: tuple[str, ...], counts: VerdictCounts | None) -> BundleResult:
    auroc = 0.91234 + 0.02 * number
    metrics = Metrics(190, 103, 289, auroc, 0.8, 0.97, None, 0.85, 0.5, 21.5)
    figures = Figures(metrics, {"<uneven>": metrics})
    missing = "" if counts else "the line has no calibration yet"
    folder = Path(f"/bundles/{number}")
    own = dict.fromkeys(paradigms, figures)
    return BundleResult(f"abc{number}", folder, "compact", "norm_guided", own, counts, missing)


@pytest.fixture
def make_evaluation() -> MakeEvaluation:
    """An evaluation of `bundles` bundles whose image AUROC rises by 0.02 from one to the next."""

    def make(
        bundles: int = 1,
        paradigms: tuple[str, ...] = ("norm_guided",),
        counts: VerdictCounts | None = COUNTS,
    ) -> Evaluation:
        return Evaluation(
            line=1,
            source="folder /tiles [small] <b>",
            created=datetime(2026, 11, 22, 12, 30, tzinfo=UTC),
            command="evaluate_line --line 1 --dataset '/tiles [small]'",
            device="cpu",
            device_name="a processor, 2 threads",
            dtype="bfloat16",
            batch_size=8,
            bundles=tuple(bundle(number, paradigms, counts) for number in range(bundles)),
            skipped=SKIPPED,
            mask_faults=WITHOUT_MASK,
            faults=FAULTS,
        )

    return make
