"""Normal parts drawn by a line's simulated camera, to train on."""

from __future__ import annotations

from pipeline.config import Frame, SimulatedCamera
from stages.acquisition.simulation import PartRenderer
from stages.preprocessing.prepare import prepare
from training.images import ImageSet, image_set

SEED_OFFSET = 2000
"""Added to the camera's seed: the parts are neither those of the line nor of calibration."""

SEEDS = 16
"""The parts come from this many seeds: each has its own belt, brushing and lathe marks."""

VIEW_PX = 64
"""Side of the view that preparation gives along, and that nobody looks at here."""


def simulated_parts(camera: SimulatedCamera, frame: Frame, count: int) -> ImageSet:
    """`count` good parts, prepared as the line prepares its frames."""
    images, names = [], []
    for turn in range(SEEDS):
        seed = camera.seed + SEED_OFFSET + turn
        renderer = PartRenderer(camera.product, camera.size_px, seed, defect_share=0.0)
        for sequence in range(count * turn // SEEDS, count * (turn + 1) // SEEDS):
            part = renderer.render(sequence, kind=None)
            images.append(prepare(part.image, frame, VIEW_PX).image)
            names.append(f"{camera.product}, seed {seed}, part {sequence}")
    return image_set(images, names)
