"""The simulated camera as a camera."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pipeline import config
from pipeline.errors import ConfigError
from stages.acquisition.simulated import SimulatedCamera

if TYPE_CHECKING:
    from .conftest import FakeClock


def opened(clock: FakeClock, product: str = "brushed_metal") -> SimulatedCamera:
    settings = config.SimulatedCamera(
        kind="simulated",
        product=product,
        size_px=(128, 128),
        seed=4,
        defect_share=0.5,
        rate_hz=None,
    )
    camera = SimulatedCamera(settings, clock)
    camera.open()
    return camera


def test_a_restarted_camera_shows_the_same_parts(clock: FakeClock) -> None:
    camera = opened(clock)
    shots = [camera.read(sequence, 0) for sequence in range(1, 9)]
    again = opened(clock).read(8, 0)
    assert np.array_equal(again.image, shots[-1].image)
    assert (again.truth, again.source) == (shots[-1].truth, shots[-1].source)
    assert not camera.exhausted


def test_source_and_truth_say_what_was_rendered(clock: FakeClock) -> None:
    camera = opened(clock)
    shots = [camera.read(sequence, 0) for sequence in range(1, 21)]
    for shot in shots:
        assert shot.truth is not None
        assert shot.source == f"brushed_metal/{shot.truth.kind or 'good'}"
        assert shot.captured_monotonic_ns == clock.monotonic_ns()
    assert {shot.truth.defective for shot in shots if shot.truth} == {True, False}


def test_an_unknown_product_is_a_configuration_error(clock: FakeClock) -> None:
    with pytest.raises(ConfigError, match="brushed_metal"):
        opened(clock, "velvet")
