"""Whether every way of computing a score gives the verdicts of one reference.

A network in another precision, batch or number of threads adds up its terms in another order, or
with fewer digits. What that does to a score is an error of its log odds, ln(s / (1 - s)), the
networks' own scale: near 0.5 a score moves by a quarter of it, and near 0 by as little as the
score itself is small. So the tolerance is one number of log odds for each precision, and a part may
move by it times s (1 - s), or times t (1 - t) where the threshold t is nearer to 0.5.

A mode is refused where a score moves more than that, or where a verdict differs of a part that lies
further from the threshold. The verdicts of nearer parts may differ, and are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from calibration.images import Advance
from evaluation.reference import on_threads
from stages.inspector import Inspection

Scores = NDArray[np.float64]

TOLERANCES = {"float32": 1e-3, "bfloat16": 0.25}
"""Log odds. Layout, batch and threads change the order in which float32 is added up, in its last
digits: of the parts of line 3 none moved by more than a quarter of this, and deeper networks add up
more. bfloat16 keeps 8 binary digits, an error of up to 0.4 % in every layer: there none moved by
more than 0.13, and twice that is allowed, since other parts may move further."""

LEAST_SLOPE = float(np.finfo(np.float32).tiny)
"""Something is always allowed, also of a score or threshold of 0."""
BATCH_SIZES = (1, 2, 3, 4, 7, 8, 16, 32)
"""Those that a GPU keeps a graph of, and 3 and 7, which are padded."""


class Engine(Protocol):
    """What gives scores: `stages.inspector.Inspector`, or another runtime in its place."""

    def inspect(self, images: NDArray[np.uint8]) -> Inspection:
        """(B, H, W, C) uint8, prepared -> scores, maps, reconstructions."""
        ...


@dataclass(frozen=True)
class Mode:
    """One way to compute scores.

    `dtype` is the word that a calibration made in this mode has for it, `tolerance` is in log odds,
    and `threads` are the numbers of CPU threads to try, with batches of each of `batch_sizes`.
    """

    name: str
    dtype: str
    tolerance: float
    threads: tuple[int, ...]
    make: Callable[[], Engine]
    batch_sizes: tuple[int, ...] = BATCH_SIZES


@dataclass(frozen=True)
class Reference:
    """The reference's raw `scores` (N,) and `anomaly_maps` (N, H, W) float16, and the threshold."""

    threshold: float
    scores: Scores
    anomaly_maps: NDArray[np.float16]

    def allowed(self, tolerance: float) -> Scores:
        """(N,), how far each raw score may move for a tolerance in log odds."""
        slope = np.maximum(_slope(self.scores), _slope(self.threshold))
        return tolerance * np.maximum(slope, LEAST_SLOPE)

    def allowed_at_threshold(self, tolerance: float) -> float:
        """The same for a score that lies on the threshold."""
        return tolerance * max(float(_slope(self.threshold)), LEAST_SLOPE)

    def near(self, tolerance: float, times: float = 1.0) -> NDArray[np.bool_]:
        """(N,) bool: the parts that lie within `times` what is allowed of the threshold."""
        apart = np.abs(self.scores - self.threshold)
        return np.asarray(apart <= times * self.allowed(tolerance))


@dataclass(frozen=True)
class Deviation:
    """One mode at one batch size and number of threads; differences are of the raw score.

    `allowed` is for a score on the threshold, and `largest_share` the largest difference as a share
    of what is allowed of its part. `flips` are verdicts that differ of the `near` parts, `wrong`
    those of all others.
    """

    mode: str
    dtype: str
    batch_size: int
    threads: int
    allowed: float
    near: int
    largest_difference: float
    p99_difference: float
    largest_share: float
    largest_map_difference: float
    flips: int
    wrong: int
    not_finite: int

    @property
    def refused(self) -> bool:
        """Whether the scores of this mode are not those of the reference."""
        within = self.largest_share <= 1.0
        return not within or self.wrong > 0 or self.not_finite > 0


def compare(
    mode: Mode, images: Sequence[NDArray[np.uint8]], reference: Reference, advance: Advance
) -> Iterator[Deviation]:
    """The mode at every number of threads and batch size, on images (H, W, C) uint8."""
    engine = mode.make()
    for threads in mode.threads:
        for size in mode.batch_sizes:
            with on_threads(threads):
                found = _inspected(engine, images, size, reference, advance)
            yield _deviation(mode, size, threads, reference, found)


def refusal_of(mode: Mode, outside: Sequence[Deviation]) -> str:
    """What is wrong with a mode, by the worst of its deviations that are refused."""
    worst = max(outside, key=lambda deviation: (deviation.not_finite, deviation.largest_share))
    return (
        f"{mode.name} is refused in {len(outside)} of the batch sizes and threads tried, at worst "
        f"with batches of {worst.batch_size} on {worst.threads} threads: scores differ by up to "
        f"{worst.largest_difference:.3g}, {worst.largest_share:.3g} times what is allowed "
        f"({worst.allowed:.3g} at the threshold), {worst.wrong} verdicts differ beyond the "
        f"tolerance and {worst.flips} within it, {worst.not_finite} scores are not finite"
    )


@dataclass(frozen=True)
class _Found:
    """Raw `scores` (N,), and how far a pixel of a map lies from the reference's at most."""

    scores: Scores
    largest_map_difference: float


def _inspected(
    engine: Engine,
    images: Sequence[NDArray[np.uint8]],
    size: int,
    reference: Reference,
    advance: Advance,
) -> _Found:
    """All images in batches of `size`; the last may be smaller, but not the only one."""
    count = len(images)
    order = np.arange(max(count, size)) % count
    scores, largest = np.zeros(len(order), np.float64), 0.0
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        inspection = engine.inspect(np.stack([images[index] for index in batch]))
        scores[start : start + size] = inspection.scores
        apart = inspection.anomaly_maps.astype(np.float32) - reference.anomaly_maps[batch]
        largest = max(largest, float(np.nan_to_num(np.abs(apart), nan=1.0).max()))
        advance(len(batch))
    return _Found(scores[:count], largest)


def _deviation(
    mode: Mode, size: int, threads: int, reference: Reference, found: _Found
) -> Deviation:
    finite = np.isfinite(found.scores)
    apart = np.abs(np.where(finite, found.scores, reference.scores) - reference.scores)
    differs = (found.scores > reference.threshold) != (reference.scores > reference.threshold)
    near = reference.near(mode.tolerance)
    return Deviation(
        mode=mode.name,
        dtype=mode.dtype,
        batch_size=size,
        threads=threads,
        allowed=reference.allowed_at_threshold(mode.tolerance),
        near=int(near.sum()),
        largest_difference=float(apart.max()),
        p99_difference=float(np.quantile(apart, 0.99, method="higher")),
        largest_share=float((apart / reference.allowed(mode.tolerance)).max()),
        largest_map_difference=found.largest_map_difference,
        flips=int((differs & near).sum()),
        wrong=int((differs & ~near).sum()),
        not_finite=int((~finite).sum()),
    )


def _slope(score: Scores | float) -> Scores:
    """How much a score moves for a small step of its log odds: s (1 - s)."""
    return np.asarray(score * (1.0 - np.asarray(score, np.float64)))
