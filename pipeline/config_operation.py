"""How a line is looked after while it runs: what it keeps, when its supervisor acts, its logs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config_base import Section


class RejectLog(Section):
    """What is kept of the parts."""

    pass_image_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of passed parts whose images are kept; rejects and uninspected parts always are."""
    view_px: Annotated[int, Field(ge=64, le=8192)] = 1024
    """Longest side of the kept view of the part."""


class Supervision(Section):
    """When the supervisor acts."""

    restarts: Annotated[int, Field(ge=0, le=1000)] = 5
    """Restarts of one process that are allowed within window_s; one more is a FAULT."""
    window_s: Annotated[float, Field(gt=0)] = 60.0
    """Time over which restarts are counted."""
    start_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Time that a process may take until it is ready."""
    silence_alarm_s: Annotated[float, Field(gt=0)] = 1.5
    """The line is DEGRADED while a process has not beaten for this long and for two batches."""
    silence_timeout_s: Annotated[float, Field(gt=0)] = 4.0
    """A process that does not beat for this long and for two batches is killed and restarted."""
    autostart: bool = True
    """Run as soon as all processes are ready; false waits in READY for the command start."""
    hold_fault: bool = False
    """Wait in FAULT for the command reset_fault; false ends the line with an exit code."""

    @model_validator(mode="after")
    def _told_before_killed(self) -> Supervision:
        if self.silence_alarm_s >= self.silence_timeout_s:
            raise ValueError("silence_alarm_s must be shorter than silence_timeout_s")
        return self


class Logging(Section):
    """Log files below the line's data folder."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least weight of what is written; --verbose writes everything."""
    max_mb: Annotated[float, Field(gt=0)] = 10.0
    """Size at which a log file is rotated."""
    files: Annotated[int, Field(ge=1, le=100)] = 5
    """Rotated files kept per process."""
