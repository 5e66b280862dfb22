"""The batched segmentation engine: images and their reconstructions in, scores and maps out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stages.bundle import Bundle
from stages.device import Precision
from stages.execution import Execution, check_batch
from stages.exposure import exposure_gain, to_network_range, with_gain
from stages.lanes.flight import Flight
from stages.lanes.open import open_lane
from stages.segmentation.anomaly import proven_score
from stages.segmentation.surface import anomaly_map


class Segmentation(NamedTuple):
    """`scores` (B,) float32, raw; `anomaly_maps` (B, H, W) float16 in [0, 1]."""

    scores: NDArray[np.float32]
    anomaly_maps: NDArray[np.float16]


class Segmenter:
    """Runs the bundle's segmentation network, its surface model and its score."""

    def __init__(self, bundle: Bundle, device: str = "auto", precision: Precision = "auto") -> None:
        manifest = bundle.manifest
        self.execution = Execution(device, precision)
        self._top_k = manifest.profile.top_k
        self._shape = (*manifest.image_size_px, manifest.channels)
        self._exposure_level = manifest.exposure_level
        _, self._network = bundle.networks()
        self._network.fold_norms()
        self.execution.place(self._network)
        self._surface = bundle.surface()
        if self._surface is not None:
            self.execution.place(self._surface)
        rows = (np.zeros(self._shape, np.uint8), np.zeros(self._shape, np.float16))
        self._lane = open_lane(self.execution, self._compare, rows, finish=self._judge)

    def segment(
        self, images: NDArray[np.uint8], reconstructions: NDArray[np.float16]
    ) -> Segmentation:
        """(B, H, W, C) uint8 images and float16 reconstructions in [-1, 1] -> scores and maps.

        A score is computed from the float32 map, before that is rounded. Raises InputError for
        other types, other sizes, or two batches of different length.
        """
        return self.land(self.submit(images, reconstructions))

    def submit(self, images: NDArray[np.uint8], reconstructions: NDArray[np.float16]) -> Flight:
        """Starts what `segment` does; on a GPU the next batch may be submitted meanwhile."""
        check_batch(images, np.uint8, self._shape)
        check_batch(reconstructions, np.float16, self._shape, length=len(images))
        return self._lane.submit(images, reconstructions)

    def land(self, flight: Flight) -> Segmentation:
        """Scores and maps of a batch that was submitted, once they are there."""
        scores, anomaly_maps = flight.land()
        return Segmentation(
            cast("NDArray[np.float32]", scores), cast("NDArray[np.float16]", anomaly_maps)
        )

    def land_each(self, flight: Flight) -> Iterator[tuple[np.float32, NDArray[np.float16]]]:
        """The same part by part: score and map (H, W) of each."""
        return zip(*self.land(flight), strict=True)

    def _compare(self, frames: Tensor, reconstructions: Tensor) -> tuple[Tensor]:
        """(B, C, H, W) frames uint8 and reconstructions float16 -> (B, 1, H, W) logits."""
        gain = exposure_gain(frames, self._exposure_level)
        x_0, x_0_hat = to_network_range(frames, gain), with_gain(reconstructions, gain)
        return (self._network(x_0, x_0_hat),)

    def _judge(
        self, frames: Tensor, reconstructions: Tensor, logits: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same frames and reconstructions, and their logits -> (B,) scores, (B, H, W) maps."""
        x_0 = to_network_range(frames, exposure_gain(frames, self._exposure_level))
        maps = anomaly_map(logits[:, 0], self._surface, x_0)
        return proven_score(maps, reconstructions, self._top_k), maps.half()

    def open_for(self, most: int) -> None:
        """Runs, or captures, what batches of up to `most` images need before the first part."""
        self.warm_up(self._lane.warm_sizes(most))

    def warm_up(self, batch_sizes: Iterable[int]) -> None:
        """Runs each batch size once, so that the first part of a shift is not the slow one."""
        for size in batch_sizes:
            shape = (size, *self._shape)
            self.segment(np.zeros(shape, np.uint8), np.zeros(shape, np.float16))
