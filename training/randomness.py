"""Where a training's randomness comes from: a generator of its own for everything that is drawn.

What is drawn depends on the seed, the process, what it is for and its number, and on nothing that
was drawn before. So a resumed training needs no generators' states, and what was painted ahead
of time and is not used leaves no trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np


class Use(IntEnum):
    """What a generator is for; the values are part of what a seed means."""

    BATCH = 0
    NOISE = 1
    POOL = 2
    POOL_NOISE = 3
    POOL_RENEWAL = 4
    POOL_CROPS = 5


@dataclass(frozen=True)
class Randomness:
    """The generators of one process of a training; `rank` counts its processes from 0."""

    seed: int
    rank: int = 0

    def generator(self, use: Use, number: int) -> np.random.Generator:
        """The generator of the `number`-th thing of its kind, always from its beginning."""
        return np.random.default_rng((self.seed, self.rank, use, number))

    def common(self, use: Use, number: int) -> np.random.Generator:
        """The same, equal in all processes."""
        return np.random.default_rng((self.seed, 0, use, number))

    def torch_seed(self, use: Use, number: int) -> int:
        """A seed for a generator of PyTorch, 0 to 2^63 - 1."""
        return int(self.generator(use, number).integers(2**63))
