"""Names of the line's topics below the configured root."""

from __future__ import annotations

from dataclasses import dataclass

WRITTEN_BY_LINE = ("verdict", "reject", "status", "heartbeat", "undelivered", "response")
WRITTEN_BY_PLC = ("command", "ack")


@dataclass(frozen=True)
class Topics:
    """The topics of one line; `root` is the configuration's `mqtt.topic_root`."""

    root: str

    @property
    def verdict(self) -> str:
        """Every part's verdict. QoS 1, not retained."""
        return f"{self.root}/verdict"

    @property
    def reject(self) -> str:
        """What the gate must act on, small. QoS 1, not retained."""
        return f"{self.root}/reject"

    @property
    def status(self) -> str:
        """The line's state. QoS 1, retained, also the topic of the last will."""
        return f"{self.root}/status"

    @property
    def heartbeat(self) -> str:
        """A counted sign of life. QoS 0, not retained."""
        return f"{self.root}/heartbeat"

    @property
    def undelivered(self) -> str:
        """Parts whose verdict did not go out. QoS 1, not retained."""
        return f"{self.root}/undelivered"

    @property
    def command(self) -> str:
        """What PLC or MES ask of the line. QoS 1, not retained."""
        return f"{self.root}/command"

    @property
    def response(self) -> str:
        """What became of a command. QoS 1, not retained."""
        return f"{self.root}/response"

    @property
    def ack(self) -> str:
        """Rejects that the PLC has acted upon. QoS 1, not retained."""
        return f"{self.root}/ack"
