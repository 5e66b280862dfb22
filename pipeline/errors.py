"""The tree of errors.

Everything that a user can cause or mend is a `LineError`; its text says what is wrong and what to
do next. A programmer's mistake is an `assert`, never one of these.

    LineError                 exit code 1: a fault while running
    ├── ConfigError           exit code 2: a configuration or an argument is wrong
    ├── InputError            exit code 2: images or another input cannot be used
    ├── NotReadyError         exit code 3: nothing is wrong with the line, but it may not start yet
    │   ├── BundleError       no model bundle, or one that is changed, incomplete or foreign
    │   └── CalibrationError  no calibration, or one that belongs to another bundle
    ├── FrameError            one frame cannot be inspected; its part becomes UNINSPECTED
    ├── WireError             one message cannot be read; its part becomes UNINSPECTED
    ├── DeviceError           the computing device has failed; the process that holds it must end
    └── TrainingError         training cannot go on (for instance a loss that is not finite)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.messages import Part, Reason


class LineError(Exception):
    """A fault that the user can understand and act upon."""

    exit_code = 1


class ConfigError(LineError):
    """The configuration or the arguments are wrong; the text lists every mistake."""

    exit_code = 2


class InputError(LineError):
    """Images, folders or other inputs cannot be used; the text gives counts."""

    exit_code = 2


class NotReadyError(LineError):
    """The line may not start yet; the text names the command that mends it."""

    exit_code = 3


class BundleError(NotReadyError):
    """The model bundle is missing, incomplete, changed or of an unknown version."""


class CalibrationError(NotReadyError):
    """The calibration is missing, damaged or belongs to another bundle or paradigm."""


class FrameError(LineError):
    """One frame cannot be inspected; `reason` is the code that its verdict carries."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class WireError(LineError):
    """One message cannot be read; `part` names its part where that much was legible."""

    def __init__(self, text: str, part: Part | None = None) -> None:
        super().__init__(text)
        self.part = part


class DeviceError(LineError):
    """The computing device has failed, and all that was in flight on it is lost."""


class TrainingError(LineError):
    """Training cannot go on; the last good checkpoint stays as it is."""
