"""What an evaluation found: figures of each bundle and paradigm, and their mean over bundles."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from calibration.images import SkippedPart

Areas = dict[str, float | None]

AREAS = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "pro_30", "pro_5")
MEASURED = (*AREAS, "images_per_second")


@dataclass(frozen=True)
class Metrics:
    """Areas in [0, 1], None where not defined; `good` and `defective` count images.

    Pixel metrics cover the `with_mask` images of known truth for each pixel, good ones included.
    `images_per_second` is that of the networks, the same for every kind of defect.
    """

    good: int
    defective: int
    with_mask: int
    image_auroc: float | None
    image_ap: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    pro_30: float | None
    pro_5: float | None
    images_per_second: float

    def measured(self) -> Areas:
        """The figures without the counts, by name."""
        return {key: value for key, value in asdict(self).items() if key in MEASURED}


@dataclass(frozen=True)
class Figures:
    """The metrics over all parts, and of each kind of defect against all good parts."""

    overall: Metrics
    per_type: dict[str, Metrics]


@dataclass(frozen=True)
class VerdictCounts:
    """Verdicts at a threshold: escapes are defective parts passed, overkill good ones rejected."""

    threshold: float
    calibration_id: str
    defective: int
    escapes: int
    good: int
    overkill: int


@dataclass(frozen=True)
class BundleResult:
    """One bundle under each paradigm.

    `verdicts` are those of `own_paradigm`, the one that the line runs the bundle with; None where
    `verdicts_missing` says why.
    """

    id: str
    folder: Path
    profile: str
    own_paradigm: str
    paradigms: dict[str, Figures]
    verdicts: VerdictCounts | None
    verdicts_missing: str


@dataclass(frozen=True)
class Summary:
    """Mean over bundles, and their sample standard deviation (n - 1); None of one bundle alone."""

    mean: Metrics
    deviation: Areas | None


@dataclass(frozen=True)
class Fault:
    """What the data set lacks or spoils, in words, and the images that it concerns."""

    text: str
    parts: tuple[SkippedPart, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """All that an evaluation found. Every bundle was evaluated with the same paradigms."""

    line: int
    source: str
    created: datetime
    command: str
    device: str
    device_name: str
    dtype: str
    batch_size: int
    bundles: tuple[BundleResult, ...]
    skipped: tuple[SkippedPart, ...]
    mask_faults: tuple[SkippedPart, ...]
    faults: tuple[Fault, ...]

    @property
    def paradigms(self) -> tuple[str, ...]:
        """Names of the evaluated paradigms, in the order of the question."""
        return tuple(self.bundles[0].paradigms)

    @property
    def main_paradigm(self) -> str:
        """The line's own paradigm where it was evaluated, else the first."""
        return main_paradigm(self.bundles[0].own_paradigm, self.paradigms)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds of defects that have parts, sorted."""
        return tuple(self.bundles[0].paradigms[self.main_paradigm].per_type)

    def overall(self, paradigm: str) -> Summary:
        """All parts, over the bundles."""
        return summarise([bundle.paradigms[paradigm].overall for bundle in self.bundles])

    def of_kind(self, paradigm: str, kind: str) -> Summary:
        """One kind of defect against all good parts, over the bundles."""
        return summarise([bundle.paradigms[paradigm].per_type[kind] for bundle in self.bundles])


def main_paradigm(own: str, evaluated: Sequence[str]) -> str:
    """The paradigm that a report shows in depth: the line's own, else the first."""
    return own if own in evaluated else evaluated[0]


def summarise(found: Sequence[Metrics]) -> Summary:
    """The same parts measured with several bundles, as one row."""
    assert found
    means: dict[str, Any] = {**_each(found, statistics.fmean)}
    mean = replace(found[0], **means)
    return Summary(mean, _each(found, statistics.stdev) if len(found) > 1 else None)


def _each(found: Sequence[Metrics], statistic: Callable[[Sequence[float]], float]) -> Areas:
    """The statistic of each figure, None where one of them is not defined."""
    columns = {key: [metrics.measured()[key] for metrics in found] for key in MEASURED}
    return {
        key: None if None in values else statistic([value or 0.0 for value in values])
        for key, values in columns.items()
    }


def cell(summary: Summary, key: str) -> str:
    """A figure as people read it: `0.9123`, `0.912 ± 0.004` over bundles, or a dash. What is not 1
    never reads 1.0000.
    """
    value = summary.mean.measured()[key]
    if value is None:
        return "-"
    digits = 4 if key in AREAS else _digits_of_rate(value)
    if summary.deviation is None:
        largest = 1 - 10**-digits if key in AREAS and value < 1 else value
        return f"{min(value, largest):.{digits}f}"
    digits = min(digits, 3)
    return f"{value:.{digits}f} ± {summary.deviation[key] or 0.0:.{digits}f}"


def _digits_of_rate(rate: float) -> int:
    """Three significant digits: 0.0931, 7.25, 30.5, 412."""
    return max(0, 2 - math.floor(math.log10(rate))) if rate > 0 else 1
