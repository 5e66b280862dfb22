"""Parts whose score lies near the threshold, where a verdict is most easily changed.

Such parts are rare. They are made of a part that passes and one that is rejected, by a linear blend
of both images: somewhere on the way from one to the other the score crosses the threshold, and
bisection finds the place. What it tries on the way comes ever nearer, from both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration.images import Advance
from evaluation.datasets import GOOD, LabelledPart
from evaluation.reference import Inspected

Inspect = Callable[[NDArray[np.uint8]], Inspected]

PAIRS = 12
STEPS = 12
"""The last step moves a blend by 1/4096 of the way: less than one grey level of any pixel."""


class ScoredPart(NamedTuple):
    """A prepared image (H, W, C) uint8 of a `kind`, with what the reference says of it."""

    name: str
    kind: str
    image: NDArray[np.uint8]
    inspected: Inspected


def scored(part: LabelledPart, inspect: Inspect) -> ScoredPart:
    """A part with its score."""
    return ScoredPart(part.name, part.kind, part.image, inspect(part.image))


def blends_near(
    parts: Sequence[ScoredPart],
    threshold: float,
    within: float,
    inspect: Inspect,
    advance: Advance,
) -> list[ScoredPart]:
    """Blends of `parts` whose raw score is at most `within` away from the threshold.

    Empty where all parts lie on one side of it.
    """
    found = []
    for passed, rejected in pairs_across(parts, threshold):
        for blend in _bisected(passed, rejected, threshold, inspect):
            if abs(blend.inspected.score - threshold) <= within:
                found.append(blend)
        advance(1)
    return found


def pairs_across(
    parts: Sequence[ScoredPart], threshold: float
) -> Iterator[tuple[ScoredPart, ScoredPart]]:
    """At most PAIRS of a part that passes and one that is rejected, as alike as can be.

    Good parts that pass and defective ones that are rejected come first, of all kinds in turn.
    """
    above = [part.inspected.score > threshold for part in parts]
    passed = [part for part, high in zip(parts, above, strict=True) if not high]
    rejected = [part for part, high in zip(parts, above, strict=True) if high]
    passed = [part for part in passed if part.kind == GOOD] or passed
    rejected = in_turn([part for part in rejected if part.kind != GOOD] or rejected)
    for number in range(min(PAIRS, len(passed) * len(rejected))):
        again, index = divmod(number, len(rejected))
        alike = _by_likeness(rejected[index], passed)
        yield alike[again % len(alike)], rejected[index]


def in_turn(parts: Sequence[ScoredPart]) -> list[ScoredPart]:
    """The first of each kind, then the second of each, and so on."""
    seen: dict[str, int] = {}
    turns = []
    for part in parts:
        seen[part.kind] = seen.get(part.kind, 0) + 1
        turns.append(seen[part.kind])
    order = sorted(range(len(parts)), key=lambda index: turns[index])
    return [parts[index] for index in order]


def blend(
    passed: NDArray[np.uint8], rejected: NDArray[np.uint8], share: float
) -> NDArray[np.uint8]:
    """(1 - share) of one image and `share` of the other, rounded to grey levels."""
    mixed = (1.0 - share) * passed.astype(np.float64) + share * rejected.astype(np.float64)
    return np.rint(mixed).astype(np.uint8)


def _bisected(
    passed: ScoredPart, rejected: ScoredPart, threshold: float, inspect: Inspect
) -> Iterator[ScoredPart]:
    below, above = 0.0, 1.0
    last = passed.image
    for _ in range(STEPS):
        share = (below + above) / 2
        image = blend(passed.image, rejected.image, share)
        if np.array_equal(image, last):
            return
        last, inspected = image, inspect(image)
        name = f"{share:.5g} of {rejected.name} over {passed.name}"
        yield ScoredPart(name, rejected.kind, image, inspected)
        if inspected.score > threshold:
            above = share
        else:
            below = share


def _by_likeness(part: ScoredPart, others: Sequence[ScoredPart]) -> list[ScoredPart]:
    """The others, by their mean difference from `part` in grey levels."""
    return sorted(
        others, key=lambda other: float(np.abs(part.image.astype(np.int16) - other.image).mean())
    )
