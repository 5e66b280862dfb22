"""Fits the surface model of a bundle to good parts (`stages.segmentation.surface`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from stages.bundle import Bundle
from stages.exposure import exposure_gain, to_network_range
from stages.inspector import Inspector
from stages.segmentation.surface import (
    CELLS_PX,
    LEAST_DISTANCE,
    CellModel,
    SurfaceModel,
    measures,
)

BATCH = 16
MOST_COMPONENTS = 160
PARTS_PER_COMPONENT = 4
MOST_COMPARED = 2000
"""Parts from which the components are found: enough for so many, and a matter of seconds."""
LEAST_SHARE = 1e-9
"""Of the squares of all measures; a component with less is rounding."""
OF_USUAL = 0.3
"""A measure that hardly differs at a place weighs no more than if it did so by this share of what
is usual on the part."""
OF_ALL_PLACES = 20.0
"""The spread at a place counts as if so many images more had shown that of all places."""
LEAST_LEVELS, LEAST_GRAIN = 4.0, 0.2
"""Smallest standard deviation that is believed, in a cell of one pixel: of a brightness in grey
levels, of the logarithm of a contrast. A cell's is so many times smaller as its side is longer.
Where good parts are all alike, at a black border, nothing may seem far away."""
TENTHS = 2.563
"""Standard deviations between the first and the last tenth of a normal distribution."""
LEAST_SPREAD = 1e-3
LARGEST_LOGIT = 15.0


def fitted(
    images: np.ndarray,
    exposure_level: float | None,
    cells_px: Sequence[int] = CELLS_PX,
    most_components: int = MOST_COMPONENTS,
) -> SurfaceModel:
    """What good parts (N, H, W, C) uint8 have in common and how much they differ, as they lie:
    mirror images would only widen what is usual at a place.

    At most `most_components`, and one for every four parts: more would describe these parts, not
    their kind.
    """
    components = min(most_components, len(images) // PARTS_PER_COMPONENT)
    size_px = (images.shape[1], images.shape[2])
    model = SurfaceModel(images.shape[3], size_px, components, cells_px)
    for cells in model.sizes:
        _fit(cells, images, exposure_level)
    return model


def scaled(model: SurfaceModel, bundle: Bundle, held_out: np.ndarray, device: str) -> SurfaceModel:
    """The model with the slopes and offsets that let the farthest cells of good parts have the
    logits that the networks of `bundle`, which has no surface model, give the same parts.

    `held_out`: good parts (N, H, W, C) uint8 that neither was fitted to.
    """
    inspector = Inspector(bundle, device)
    scores = np.concatenate(
        [inspector.inspect(held_out[i : i + BATCH]).scores for i in range(0, len(held_out), BATCH)]
    )
    logits = torch.from_numpy(scores).double().logit().clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
    level = bundle.manifest.exposure_level
    set_odds(model, held_out, level, float(logits.median()), _spread(logits))
    return model


def set_odds(
    model: SurfaceModel,
    held_out: np.ndarray,
    exposure_level: float | None,
    median: float,
    spread: float,
) -> None:
    """Sets slopes and offsets so that the logits of the farthest cells of good parts (N, H, W, C)
    uint8 have this median and this standard deviation, in each size of cells.
    """
    farthest = farthest_cells(model, held_out, exposure_level).clamp(min=LEAST_DISTANCE)
    for cells, distances in zip(model.sizes, farthest.double().log().unbind(dim=1), strict=True):
        slope = spread / _spread(distances)
        cells.slope.fill_(slope)
        cells.offset.fill_(median - slope * float(distances.median()))


def farthest_cells(model: SurfaceModel, images: np.ndarray, exposure_level: float | None) -> Tensor:
    """The distance of the farthest cell of each size in each image (N, H, W, C) uint8: (N, sizes)
    float32.
    """
    farthest = [
        torch.stack([cells.distances(seen).flatten(1).amax(dim=1) for cells in model.sizes], dim=1)
        for seen in _seen(images, exposure_level)
    ]
    return torch.cat(farthest)


def _fit(cells: CellModel, images: np.ndarray, exposure_level: float | None) -> None:
    found = torch.cat([measures(seen, cells.cell_px) for seen in _seen(images, exposure_level)])
    own, usual = found.std(dim=0, correction=0), found.std(dim=(0, 1, 2), correction=0)
    least = _least(images.shape[3], cells.cell_px)
    cells.mean.copy_(found.mean(dim=0))
    cells.scale.copy_(own + OF_USUAL * usual + least)
    if len(cells.components):
        away = ((found - cells.mean) / cells.scale).flatten(1)
        some = away[:: math.ceil(len(away) / MOST_COMPARED)]
        cells.components.copy_(_leading(some, len(cells.components)))

    products = torch.zeros(())
    for left in torch.split(cells.unexplained(found), BATCH):  # all at once would be much memory
        products = products + torch.einsum("brsi,brsj->rsij", left.double(), left.double())
    covariance = products / len(found)
    share = OF_ALL_PLACES / (OF_ALL_PLACES + len(found))
    spread = (1.0 - share) * covariance + share * covariance.mean(dim=(0, 1))
    believed = spread + torch.diag(least.double().square())
    cells.whitening.copy_(torch.linalg.cholesky(torch.linalg.inv(believed)))


def _leading(samples: Tensor, count: int) -> Tensor:
    """The first `count` principal components of (N, D) centred samples, (count, D); zeros in place
    of those that the samples do not have.
    """
    samples = samples.double()
    squares, turns = torch.linalg.eigh(samples @ samples.T)
    squares, turns = squares.flip(0)[:count], turns.flip(1)[:, :count]
    components = torch.zeros(count, samples.shape[1], dtype=torch.float64)
    there = (squares > LEAST_SHARE * samples.square().sum()).nonzero().flatten()
    components[there] = (turns[:, there] / squares[there].sqrt()).T @ samples
    return components


def _seen(images: np.ndarray, exposure_level: float | None) -> Iterator[Tensor]:
    """Batches (B, C, H, W) in [-1, 1] of (N, H, W, C) uint8, as the networks see them."""
    for start in range(0, len(images), BATCH):
        levels = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2)
        yield to_network_range(levels, exposure_gain(levels, exposure_level))


def _least(channels: int, cell_px: int) -> Tensor:
    """The smallest standard deviations that are believed, (M,)."""
    return torch.tensor([LEAST_LEVELS] * channels + [LEAST_GRAIN] * 3) / cell_px


def _spread(values: Tensor) -> float:
    """Standard deviation of most of (N,) values; a few outliers do not count."""
    first, last = (float(values.quantile(share)) for share in (0.1, 0.9))
    return max((last - first) / TENTHS, LEAST_SPREAD)
