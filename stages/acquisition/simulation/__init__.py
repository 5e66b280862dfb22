"""The simulated camera's products: parts drawn from a seed, with the truth about their defects."""

from stages.acquisition.simulation.defects import DEFECT_KINDS
from stages.acquisition.simulation.products import (
    AS_DRAWN,
    PRODUCTS,
    PartRenderer,
    RenderedPart,
)

__all__ = ["AS_DRAWN", "DEFECT_KINDS", "PRODUCTS", "PartRenderer", "RenderedPart"]
