"""The command that a message tells its reader to type next, about the line as it is configured.

What stands in capitals is to be filled in.
"""

from __future__ import annotations

from pipeline.config import DEFAULT_RECIPE, LineConfig, SimulatedCamera


def line_arguments(config: LineConfig) -> str:
    """What a command must be given to be about this line as it is configured: the very options of
    the one that runs, if there is one, else the line's number and what scores depend on.
    """
    if config.asked_for:
        return config.asked_for
    section = config.reconstruction
    recipe = {"recipe": config.recipe} if config.recipe != DEFAULT_RECIPE else {}
    named = {"paradigm": section.paradigm} if section.paradigm else {}
    changes = recipe | {f"reconstruction.{k}": v for k, v in {**named, **section.ddim}.items()}
    return f"--line {config.line}" + "".join(f" --set {k}={v}" for k, v in changes.items())


def train_command(config: LineConfig) -> str:
    """The command that trains this line's bundle."""
    return f"train_line {line_arguments(config)} {_images(config, 800)} --minutes 60"


def calibrate_command(config: LineConfig) -> str:
    """The command that calibrates this line."""
    return (
        f"calibrate_line {line_arguments(config)} {_images(config, 200)} --false-reject-rate 0.01"
    )


def _images(config: LineConfig, parts: int) -> str:
    drawn = isinstance(config.camera, SimulatedCamera)
    return f"--parts {parts}" if drawn else "--images DIR"
