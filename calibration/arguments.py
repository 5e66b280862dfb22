"""Arguments that the commands on scored images have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from pipeline.config import LineConfig, SimulatedCamera
from pipeline.errors import ConfigError


def whole_number(least: int) -> Callable[[str], int]:
    """A reader of whole numbers from `least` on, for argparse."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text}: expected {least} or more")
        return value

    return number


def drawing_camera(config: LineConfig, option: str) -> SimulatedCamera:
    """The line's simulated camera, for --parts. Raises ConfigError, naming `option` instead."""
    if isinstance(config.camera, SimulatedCamera):
        return config.camera
    raise ConfigError(
        f"--parts: line {config.line} has a camera of kind {config.camera.kind}, and only a "
        f"simulated one can draw parts; give {option} instead"
    )


def line_option(arguments: argparse.Namespace) -> str:
    """`--line N` or `--config FILE` as it was given, for the next command to type."""
    if arguments.config is not None:
        return f"--config {arguments.config}"
    return f"--line {arguments.line}"
