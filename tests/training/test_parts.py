from __future__ import annotations

import numpy as np

from pipeline.config import Frame, SimulatedCamera
from training.parts import SEEDS, simulated_parts

CAMERA = SimulatedCamera(
    kind="simulated",
    product="brushed_metal",
    size_px=(128, 128),
    seed=3,
    defect_share=0.5,
    rate_hz=None,
)
FRAME = Frame(colour="grey", bit_depth=8, size_px=(128, 128), input_px=(64, 64))


def test_parts_come_from_several_seeds_and_repeat() -> None:
    parts = simulated_parts(CAMERA, FRAME, 24)

    assert parts.images.shape == (24, 64, 64, 1)
    assert len({name.split(", ")[1] for name in parts.names}) == SEEDS
    assert len(set(parts.names)) == 24
    assert len(np.unique(parts.images.reshape(24, -1), axis=0)) == 24
    assert simulated_parts(CAMERA, FRAME, 24).digest == parts.digest
