"""Both engines in one process: what calibration, evaluation and benchmarks score images with.

These are the calls that the line's two processes make, in the same order and types, so an image
has one score wherever it is computed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.bundle import Bundle
from stages.device import Precision
from stages.reconstruction.engine import Reconstructor
from stages.segmentation.engine import Segmenter


class Inspection(NamedTuple):
    """`scores` (B,) float32, raw; `anomaly_maps` (B, H, W) float16 in [0, 1];
    `reconstructions` (B, H, W, C) float16 in [-1, 1].
    """

    scores: NDArray[np.float32]
    anomaly_maps: NDArray[np.float16]
    reconstructions: NDArray[np.float16]


class Inspector:
    """Reconstructs and segments batches of prepared images; `paradigm` None is the bundle's own.

    Raises BundleError and ConfigError as `Reconstructor`.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        precision: Precision = "auto",
        paradigm: str | None = None,
    ) -> None:
        self.reconstructor = Reconstructor(bundle, device, precision, paradigm)
        self.segmenter = Segmenter(bundle, device, precision)

    def inspect(self, images: NDArray[np.uint8]) -> Inspection:
        """(B, H, W, C) uint8, RGB or grey, of the bundle's size -> scores, maps, reconstructions.

        Raises InputError for another type or size.
        """
        reconstructions = self.reconstructor.reconstruct(images)
        scores, anomaly_maps = self.segmenter.segment(images, reconstructions)
        return Inspection(scores, anomaly_maps, reconstructions)

    def warm_up(self, batch_sizes: Iterable[int]) -> None:
        """Runs each batch size once, so that the first images are not the slow ones."""
        for size in batch_sizes:
            self.reconstructor.warm_up((size,))
            self.segmenter.warm_up((size,))
