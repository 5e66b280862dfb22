"""How strongly something is painted: the mean change inside its region, in grey levels.

A defect that is fainter than what its surroundings do by themselves would be a lie to the networks,
so each kind has a contrast from which on it is one, and faint ones are as frequent as plain ones.
What lies clearly below is an imperfection, as good parts have them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

STRONGEST_LEVELS = 110.0
MOST_OF_STRONGEST = 0.7
IMPERFECTION_SHARES = (0.2, 0.8)
"""An imperfection has this share of the contrast from which on it would be a defect."""


class Faintest(NamedTuple):
    """A kind's least contrast: so many `levels`, and `spread` times the standard deviation of the
    surroundings. No levels: the kind is painted as it comes.
    """

    levels: float
    spread: float

    def at(self, piece: np.ndarray) -> float:
        """In grey levels, for surroundings (h, w, C) float32 in grey levels."""
        around = float(np.mean(cv2.meanStdDev(piece)[1]))
        return min(max(self.levels, self.spread * around), MOST_OF_STRONGEST * STRONGEST_LEVELS)


class Contrast(NamedTuple):
    """The least mean change that counts, and what is wanted, both in grey levels."""

    faintest: float
    wanted: float


def defect(faintest: Faintest, piece: np.ndarray, rng: np.random.Generator) -> Contrast:
    """That of a defect on a `piece` (h, w, C): drawn evenly on a logarithmic scale."""
    if not faintest.levels:
        return Contrast(0.0, STRONGEST_LEVELS)
    least = faintest.at(piece)
    return Contrast(least, math.exp(rng.uniform(math.log(least), math.log(STRONGEST_LEVELS))))


def imperfection(faintest: Faintest, piece: np.ndarray, rng: np.random.Generator) -> Contrast:
    """That of something that is none, on a `piece` (h, w, C)."""
    return Contrast(0.0, rng.uniform(*IMPERFECTION_SHARES) * faintest.at(piece))
