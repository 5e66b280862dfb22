"""How far a surface is from that of good parts: what a part shows as a whole.

The segmentation network finds what was painted for it to learn: marks that stand out from what is
around them. Where a large area is duller, rougher or lighter than on a good part, nothing stands
out. Here an image is cut into cells; each is described by a few plain measures of brightness and
grain, relative to the whole image, since good parts differ from lot to lot; and these are compared
with those of good parts at the same place: a Gaussian per position, as PaDiM (Defard et al. 2021)
does with the features of a pretrained network, of measures that a person can check. It is fitted
in seconds (`training.surface`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch program uses

CELL_PX = 8
"""Side of a cell; chosen on simulated products (`python -m benchmarks.surfaces`)."""

GREY_LEVELS = 127.5
"""In one unit of the networks' range."""
LEAST_LEVELS = 0.5
"""Contrasts below this are told apart no more: a camera's noise is above."""
LEAST_DISTANCE = 0.1
"""Nearer than any good part is to all others."""


class SurfaceModel(nn.Module):
    """Measures of good parts, place by place, for images of `size_px` (height, width); bundles
    have cells of CELL_PX pixels.

    `mean` (R, S, M) and `whitening` (R, S, M, M) of R x S cells with M measures: a distance is the
    length of (measures - mean) @ whitening, in standard deviations of good parts. The odds of a
    defect grow as a power of it, the `slope`; by slope and `offset` the odds of the farthest cells
    of good parts are what the network gives such parts.
    """

    mean: Tensor
    whitening: Tensor
    slope: Tensor
    offset: Tensor

    def __init__(self, channels: int, size_px: tuple[int, int], cell_px: int = CELL_PX) -> None:
        super().__init__()
        self.cell_px = cell_px
        rows, columns = (side // cell_px for side in size_px)
        count = channels + 3
        self.register_buffer("mean", torch.zeros(rows, columns, count))
        self.register_buffer("whitening", torch.eye(count).repeat(rows, columns, 1, 1))
        self.register_buffer("slope", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))

    def distances(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] as the networks see them -> (B, R, S) standard deviations."""
        away = measures(images, self.cell_px) - self.mean
        whitened = (away[..., None] * self.whitening).sum(dim=-2)  # autocast would round a product
        return whitened.square().sum(dim=-1).sqrt()

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] as the networks see them -> (B, H, W) float32 logits."""
        distances = self.distances(images).clamp(min=LEAST_DISTANCE)
        logits = self.offset + self.slope * distances.log()
        whole = F.interpolate(
            logits[:, None], size=images.shape[2:], mode="bilinear", align_corners=False
        )
        return whole[:, 0]


def measures(images: Tensor, cell_px: int = CELL_PX) -> Tensor:
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
    if surface is not None:
        logits = torch.logaddexp(logits, surface(images))
    return logits.sigmoid()
