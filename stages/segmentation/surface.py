"""How far a surface is from that of good parts: what a part shows as a whole.

The segmentation network finds what was painted for it to learn: marks that stand out from what is
around them. Where a large area is duller, rougher or lighter than on a good part, nothing stands
out. Here an image is cut into cells; each is described by a few plain measures of brightness and
grain, relative to the whole image, since good parts differ from lot to lot.

Good parts differ from each other as a whole, too: their light and their grinding run from side to
side, one way or another. From all but the smallest cells, therefore, what the cells of a part all
together share with good parts is taken away, the leading principal components of their measures.
What is left of a cell, that the rest of the part does not explain, is compared with that of good
parts at the same place. This is PaDiM (Defard et al. 2021: a Gaussian per position) and the
residual of a principal component analysis (Jackson and Mudholkar 1979), of measures that a person
can check instead of a pretrained network's. All of it is fitted in seconds (`training.surface`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch program uses

CELLS_PX = (8, 16, 32)
"""Sides of the cells; chosen on simulated products (`python -m benchmarks.surfaces`)."""
EXPLAINED_FROM_PX = 16
"""Smaller cells have no components: they are too many for a few hundred parts to tell what their
kind has in common from what these parts have."""
SHARE_EXPLAINED = 0.25
"""Of the measures of all cells, the most components."""

GREY_LEVELS = 127.5
"""In one unit of the networks' range."""
LEAST_LEVELS = 0.5
"""Contrasts below this are told apart no more: a camera's noise is above."""
LEAST_DISTANCE = 0.1
"""Nearer than any good part is to all others."""


class CellModel(nn.Module):
    """Measures of good parts, place by place, in cells of one size, for images of `size_px`
    (height, width).

    `mean` and `scale` (R, S, M) of R x S cells with M measures; `components` (K, R S M),
    orthonormal, of (measures - mean) / scale, of which they explain the most over good parts.
    What they do not explain, times `scale` and `whitening` (R, S, M, M), is as long as the
    distance, in standard deviations of good parts. The odds of a defect grow as a power of it, the
    `slope`; by slope and `offset` the odds of the farthest cells of good parts are what the network
    gives such parts.
    """

    mean: Tensor
    scale: Tensor
    components: Tensor
    whitening: Tensor
    slope: Tensor
    offset: Tensor

    def __init__(
        self, channels: int, size_px: tuple[int, int], cell_px: int, components: int
    ) -> None:
        super().__init__()
        self.cell_px = cell_px
        rows, columns = (side // cell_px for side in size_px)
        count = channels + 3
        kept = min(components, int(SHARE_EXPLAINED * rows * columns * count))
        kept = kept if cell_px >= EXPLAINED_FROM_PX else 0
        self.register_buffer("mean", torch.zeros(rows, columns, count))
        self.register_buffer("scale", torch.ones(rows, columns, count))
        self.register_buffer("components", torch.zeros(kept, rows * columns * count))
        self.register_buffer("whitening", torch.eye(count).repeat(rows, columns, 1, 1))
        self.register_buffer("slope", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))

    def unexplained(self, measured: Tensor) -> Tensor:
        """What is left of measures (B, R, S, M), in their own units."""
        away = measured - self.mean
        if not len(self.components):
            return away
        away = (away / self.scale).flatten(1)
        with _unrounded(away):
            left = away - (away @ self.components.T) @ self.components
        return left.reshape(-1, *self.mean.shape) * self.scale

    def distances(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] as the networks see them -> (B, R, S) standard deviations."""
        left = self.unexplained(measures(images, self.cell_px))
        whitened = (left[..., None] * self.whitening).sum(dim=-2)
        return whitened.square().sum(dim=-1).sqrt()

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] as the networks see them -> (B, H, W) float32 logits."""
        distances = self.distances(images).clamp(min=LEAST_DISTANCE)
        logits = self.offset + self.slope * distances.log()
        whole = F.interpolate(
            logits[:, None], size=images.shape[2:], mode="bilinear", align_corners=False
        )
        return whole[:, 0]


class SurfaceModel(nn.Module):
    """A `CellModel` for each of `cells_px` that divides the sides of the images: by default those
    of bundles. `components`: how many, at most, each of them takes away.
    """

    def __init__(
        self,
        channels: int,
        size_px: tuple[int, int],
        components: int,
        cells_px: Sequence[int] = CELLS_PX,
    ) -> None:
        super().__init__()
        self.components = components
        fitting = [cell for cell in cells_px if not any(side % cell for side in size_px)]
        assert fitting, f"no cells of {cells_px} in images of {size_px}"
        self.by_size = nn.ModuleList(
            CellModel(channels, size_px, cell, components) for cell in fitting
        )

    @property
    def sizes(self) -> list[CellModel]:
        """The models of its sizes, the smallest cells first."""
        return [cast("CellModel", model) for model in self.by_size]

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] as the networks see them -> (B, H, W) float32 logits: of the
        mean of the odds by cells of each size.
        """
        logits = torch.stack([model(images) for model in self.sizes])
        return logits.logsumexp(dim=0) - math.log(len(logits))


def measures(images: Tensor, cell_px: int) -> Tensor:
    """(B, C, H, W) in [-1, 1] -> (B, R, S, C + 3) float32, of each cell: the mean grey level of
    each channel; and the logarithms of the standard deviation and of the mean step to the next
    pixel, across and down, in grey levels of the mean channel; all less their mean over the image.
    """
    levels = images.float() * GREY_LEVELS
    grey = levels.mean(dim=1, keepdim=True)
    across = F.pad((grey[..., 1:] - grey[..., :-1]).abs(), (0, 1, 0, 0))
    down = F.pad((grey[..., 1:, :] - grey[..., :-1, :]).abs(), (0, 0, 0, 1))
    planes = F.avg_pool2d(torch.cat((levels, grey, grey * grey, across, down), dim=1), cell_px)
    means, (mean, square, across, down) = planes[:, :-4], planes[:, -4:].unbind(dim=1)
    deviation = (square - mean * mean).clamp(min=0.0).sqrt()
    grain = torch.stack((deviation, across, down), dim=1).add(LEAST_LEVELS).log()
    of_cells = torch.cat((means, grain), dim=1)
    return (of_cells - of_cells.mean(dim=(2, 3), keepdim=True)).permute(0, 2, 3, 1)


def anomaly_map(logits: Tensor, surface: SurfaceModel | None, images: Tensor) -> Tensor:
    """The network's (B, H, W) logits and the images (B, C, H, W) that they are of -> probabilities
    of defect (B, H, W) float32: the odds by the network and by the surface, if any, added up.
    """
    return joint_logits(logits, surface, images).sigmoid()


def joint_logits(logits: Tensor, surface: SurfaceModel | None, images: Tensor) -> Tensor:
    """The logits of `anomaly_map`."""
    return logits if surface is None else torch.logaddexp(logits, surface(images))


def _unrounded(tensor: Tensor) -> AbstractContextManager[None]:
    """Matrix products in float32 also where autocast would round them."""
    kind = tensor.device.type
    if not torch.is_autocast_enabled(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)
