"""Names of the line's topics below the configured root."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topics:
    """The topics of one line; `root` is the configuration's `mqtt.topic_root`."""

    root: str

    @property
    def verdict(self) -> str:
        """Every part's verdict. QoS 1, not retained."""
        return f"{self.root}/verdict"

    @property
    def status(self) -> str:
        """The line's state. QoS 1, retained, also the topic of the last will."""
        return f"{self.root}/status"
