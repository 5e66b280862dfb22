"""Fits the surface model of a bundle to good parts (`stages.segmentation.surface`)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from stages.bundle import Bundle
from stages.exposure import exposure_gain, to_network_range
from stages.inspector import Inspector
from stages.segmentation.surface import CELL_PX, LEAST_DISTANCE, SurfaceModel, measures

BATCH = 16
OF_ALL_PLACES = 20.0
"""The spread at a place counts as if so many images more had shown that of all places."""
LEAST_LEVELS, LEAST_GRAIN = 1.0, 0.05
"""Smallest standard deviation that is believed: of a brightness in grey levels, of the logarithm
of a contrast. Where good parts are all alike, at a black border, nothing may seem far away."""
TENTHS = 2.563
"""Standard deviations between the first and the last tenth of a normal distribution."""
LEAST_SPREAD = 1e-3
LARGEST_LOGIT = 15.0


def fitted(
    images: np.ndarray, exposure_level: float | None, cell_px: int = CELL_PX
) -> SurfaceModel:
    """Means and spreads of good parts (N, H, W, C) uint8, as they lie: mirror images would only
    widen what is usual at a place.
    """
    seen = _seen(images, exposure_level)
    mean, own = _moments(measures(view, cell_px).double() for view in seen)
    share = OF_ALL_PLACES / (OF_ALL_PLACES + len(images))
    spread = (1.0 - share) * own + share * own.mean(dim=(0, 1)) + _least(images.shape[3])
    model = SurfaceModel(images.shape[3], (images.shape[1], images.shape[2]), cell_px)
    model.mean.copy_(mean)
    model.whitening.copy_(torch.linalg.cholesky(torch.linalg.inv(spread)))
    return model


def scaled(model: SurfaceModel, bundle: Bundle, held_out: np.ndarray, device: str) -> SurfaceModel:
    """The model with the slope and offset that let the farthest cells of good parts have the
    logits that the networks of `bundle`, which has no surface model, give the same parts.

    `held_out`: good parts (N, H, W, C) uint8 that neither was fitted to.
    """
    inspector = Inspector(bundle, device)
    scores = np.concatenate(
        [inspector.inspect(held_out[i : i + BATCH]).scores for i in range(0, len(held_out), BATCH)]
    )
    logits = torch.from_numpy(scores).double().logit().clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
    level = bundle.manifest.exposure_level
    farthest = farthest_cells(model, held_out, level).clamp(min=LEAST_DISTANCE).double().log()
    slope = _spread(logits) / _spread(farthest)
    model.slope.fill_(slope)
    model.offset.fill_(float(logits.median()) - slope * float(farthest.median()))
    return model


def farthest_cells(model: SurfaceModel, images: np.ndarray, exposure_level: float | None) -> Tensor:
    """The distance of the farthest cell of each image (N, H, W, C) uint8: (N,) float32."""
    seen = _seen(images, exposure_level)
    return torch.cat([model.distances(batch).flatten(1).amax(dim=1) for batch in seen])


def _moments(batches: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Means (R, S, M) and covariances (R, S, M, M) of measures (B, R, S, M), batch by batch."""
    count, total, products = 0, torch.zeros(()), torch.zeros(())
    for batch in batches:
        count += len(batch)
        total = total + batch.sum(dim=0)
        products = products + torch.einsum("brsi,brsj->rsij", batch, batch)
    mean = total / count
    return mean, products / count - mean[..., None] * mean[..., None, :]


def _seen(images: np.ndarray, exposure_level: float | None) -> Iterator[Tensor]:
    """Batches (B, C, H, W) in [-1, 1] of (N, H, W, C) uint8, as the networks see them."""
    for start in range(0, len(images), BATCH):
        levels = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2)
        yield to_network_range(levels, exposure_gain(levels, exposure_level))


def _least(channels: int) -> Tensor:
    """The smallest covariance that is believed, (M, M)."""
    return torch.diag(torch.tensor([LEAST_LEVELS] * channels + [LEAST_GRAIN] * 3).double() ** 2)


def _spread(values: Tensor) -> float:
    """Standard deviation of most of (N,) values; a few outliers do not count."""
    first, last = (float(values.quantile(share)) for share in (0.1, 0.9))
    return max((last - first) / TENTHS, LEAST_SPREAD)
