"""The parts that a person wants to see: those with the highest and the lowest score of a kind."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.datasets import GOOD, LabelledPart

KEPT_CASES = 3
"""Of each kind, how many hardest and how many easiest parts a report shows."""


@dataclass(frozen=True)
class Case:
    """A part with its raw score, its reconstruction (H, W, C) uint8 and its map (H, W) float16."""

    part: LabelledPart
    score: float
    reconstruction: NDArray[np.uint8]
    anomaly_map: NDArray[np.float16]


class Extremes:
    """Of each kind, the `keep` parts of highest and the `keep` of lowest score, with pictures."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._by_score: dict[str, list[Case]] = {}

    def see(
        self, part: LabelledPart, score: float, anomaly_map: np.ndarray, reconstruction: np.ndarray
    ) -> None:
        """Take a part: its map (H, W) float16, its reconstruction (H, W, C) float16 in [-1, 1]."""
        if not self._keep:
            return
        cases = self._by_score.setdefault(part.kind, [])
        case = Case(part, float(score), _grey_levels(reconstruction), anomaly_map.copy())
        insort(cases, case, key=lambda known: known.score)
        if len(cases) > 2 * self._keep:
            del cases[self._keep]

    def hardest(self, kind: str) -> list[Case]:
        """Those nearest to a wrong verdict, worst first: good parts of high, others of low score.

        No case is both among the hardest and the easiest.
        """
        return self._worst_first(kind)[: self._keep]

    def easiest(self, kind: str) -> list[Case]:
        """Those farthest from a wrong verdict, best first."""
        return self._worst_first(kind)[self._keep :][::-1]

    def _worst_first(self, kind: str) -> list[Case]:
        cases = self._by_score.get(kind, [])
        return cases[::-1] if kind == GOOD else list(cases)


def _grey_levels(reconstruction: np.ndarray) -> NDArray[np.uint8]:
    levels = np.rint((reconstruction.astype(np.float32) + 1) * 127.5)
    return np.asarray(np.clip(levels, 0, 255), np.uint8)
