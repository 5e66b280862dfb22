"""The simulated camera: rendered parts, a pure function of configuration and sequence."""

from __future__ import annotations

from pipeline import config as configuration
from stages.acquisition.shot import Clock, Shot
from stages.acquisition.simulation import PartRenderer


class SimulatedCamera:
    """Shows part `sequence` of a product, whenever it is asked."""

    live = False
    exhausted = False
    warning = away = ""

    def __init__(self, settings: configuration.SimulatedCamera, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._renderer: PartRenderer | None = None

    def open(self) -> None:
        """Draw the product's textures. Raises ConfigError for an unknown product or size."""
        settings = self._settings
        self._renderer = PartRenderer(
            settings.product, settings.size_px, settings.seed, settings.defect_share
        )

    def read(self, sequence: int, timeout_s: float) -> Shot:
        """Part `sequence`, with its truth; `source` is product/kind."""
        assert self._renderer is not None, "open the camera first"
        part = self._renderer.render(sequence)
        return Shot(
            image=part.image,
            fault=None,
            source=f"{self._settings.product}/{part.truth.kind or 'good'}",
            truth=part.truth,
            captured_monotonic_ns=self._clock.monotonic_ns(),
            captured_wall_ns=self._clock.wall_ns(),
        )

    def close(self) -> None:
        """Let go of the textures."""
        self._renderer = None
