"""The line of a campaign: what its two models give."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from chaos.plant import FRAME_PX, build_plant
from stages.bundle import load_bundle
from stages.inspector import Inspector


def test_the_broken_model_gives_no_number_and_the_sound_one_does(tmp_path: Path) -> None:
    config = build_plant(tmp_path, {}, rate_hz=None)
    shape = (2, FRAME_PX, FRAME_PX, 1)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    broken, sound = (
        Inspector(load_bundle(folder), "cpu").inspect(images).scores
        for folder in (tmp_path / "broken_bundle", config.model.bundle)
    )

    assert np.isnan(broken).all()
    assert np.isfinite(sound).all()
