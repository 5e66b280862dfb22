"""A surface model with numbers everywhere, for tests of what is done with one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from stages.segmentation.surface import CELLS_PX, SurfaceModel

COMPONENTS = 5


def random_surface(
    channels: int,
    size_px: tuple[int, int],
    *,
    slope: float = 0.5,
    offset: float = -2.0,
    cells_px: Sequence[int] = CELLS_PX,
) -> SurfaceModel:
    """Random means, scales and whitening, and orthonormal components."""
    generator = torch.Generator().manual_seed(2)
    model = SurfaceModel(channels, size_px, COMPONENTS, cells_px)
    for cells in model.sizes:
        for buffer in (cells.mean, cells.whitening):
            buffer.copy_(torch.randn(buffer.shape, generator=generator))
        cells.scale.copy_(torch.rand(cells.scale.shape, generator=generator) + 0.5)
        wide = torch.randn(cells.components.T.shape, generator=generator)
        cells.components.copy_(torch.linalg.qr(wide).Q.T)
        cells.slope.fill_(slope)
        cells.offset.fill_(offset)
    return model
