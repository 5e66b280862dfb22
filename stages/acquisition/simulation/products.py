"""The parts that the simulated camera shows: good and defective ones, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.errors import ConfigError
from pipeline.messages import Truth
from stages.acquisition.simulation.cap import MouldedCap
from stages.acquisition.simulation.defects import DEFECT_KINDS, with_defect, with_tolerated_mark
from stages.acquisition.simulation.fabric import WovenFabric
from stages.acquisition.simulation.metal import BrushedMetal
from stages.acquisition.simulation.scene import Bools, Bytes, Product

_MAKERS: dict[str, Callable[[tuple[int, int], np.random.Generator], Product]] = {
    "brushed_metal": BrushedMetal,
    "woven_fabric": WovenFabric,
    "moulded_cap": MouldedCap,
    "worn_metal": BrushedMetal,
}
_TOLERATING = {"worn_metal": 0.4}
"""The share of the parts of a product, good and defective ones, that have a mark which is no
defect: what is wrong with such a product is only a matter of how much.
"""
PRODUCTS: tuple[str, ...] = tuple(_MAKERS)
SMALLEST_PX, LARGEST_PX = 128, 2048
AS_DRAWN: Final = "as drawn"
"""The kind of part that the seed and the sequence decide."""


@dataclass(frozen=True)
class RenderedPart:
    """`image`: (H, W) grey or (H, W, 3) BGR uint8. `mask`: (H, W) bool, True on the defect."""

    image: Bytes
    mask: Bools
    truth: Truth


class PartRenderer:
    """Draws the parts of one product; holds its textures, and no state between parts.

    `size_px` is (height, width); `defect_share` in [0, 1] is the probability of a defective part.
    Raises ConfigError for an unknown product, size or share.
    """

    def __init__(
        self, product: str, size_px: tuple[int, int], seed: int, defect_share: float
    ) -> None:
        _check(product, size_px, seed, defect_share)
        self.product = product
        self.size_px = size_px
        self.seed = seed
        self.defect_share = defect_share
        textures = np.random.default_rng(np.random.SeedSequence([seed]))
        self._product = _MAKERS[product](size_px, textures)

    def render(self, sequence: int, kind: str | None = AS_DRAWN) -> RenderedPart:
        """Part number `sequence` (from 0), always the same one for the same renderer arguments.

        `kind` overrides what the seed decides: None for the same part without a defect, or one of
        DEFECT_KINDS. Raises ConfigError for another kind.
        """
        assert sequence >= 0
        fate, part, *blemishes, tolerated = np.random.SeedSequence([self.seed, sequence]).spawn(
            3 + len(DEFECT_KINDS)
        )
        drawn = self._drawn_kind(np.random.default_rng(fate))
        kind = drawn if kind == AS_DRAWN else kind
        if kind is not None and kind not in DEFECT_KINDS:
            raise ConfigError(
                f"unknown kind of defect {kind!r}: use one of {_listed(DEFECT_KINDS)}"
            )
        scene = self._product.good_part(np.random.default_rng(part))
        wear = np.random.default_rng(tolerated)
        if wear.random() < _TOLERATING.get(self.product, 0.0):
            mark = DEFECT_KINDS[int(wear.integers(len(DEFECT_KINDS)))]
            scene = with_tolerated_mark(self._product, scene, mark, wear)
        if kind is None:
            empty = np.zeros(self.size_px, np.bool_)
            return RenderedPart(scene.image, empty, Truth(defective=False))
        blemish = np.random.default_rng(blemishes[DEFECT_KINDS.index(kind)])
        defective = with_defect(self._product, scene, kind, blemish)
        return RenderedPart(defective.image, defective.mask, Truth(defective=True, kind=kind))

    def _drawn_kind(self, fate: np.random.Generator) -> str | None:
        defective = fate.random() < self.defect_share
        kind = DEFECT_KINDS[int(fate.integers(len(DEFECT_KINDS)))]
        return kind if defective else None


def _check(product: str, size_px: tuple[int, int], seed: int, defect_share: float) -> None:
    if product not in _MAKERS:
        raise ConfigError(f"unknown simulated product {product!r}: use one of {_listed(PRODUCTS)}")
    if not all(SMALLEST_PX <= side <= LARGEST_PX for side in size_px):
        raise ConfigError(
            f"a simulated part of {size_px[1]}x{size_px[0]} px cannot be drawn: "
            f"give each side {SMALLEST_PX} to {LARGEST_PX} px"
        )
    if seed < 0:
        raise ConfigError(f"the seed of the simulated camera is {seed}: give 0 or more")
    if not 0 <= defect_share <= 1:
        raise ConfigError(f"the share of defective parts is {defect_share}: give 0 to 1")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
