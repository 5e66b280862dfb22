"""What all commands share: which line, which changes, and how errors end a command."""

from __future__ import annotations

import argparse
import math
import os
import select
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config import FolderCamera, LineConfig, Section, SimulatedCamera
from pipeline.config_file import line_file, load_line, parse_override
from pipeline.errors import ConfigError, LineError

Number = TypeVar("Number", int, float)
Kind = TypeVar("Kind", bound=Enum)
INTERRUPTED = 128 + signal.SIGINT
"""Exit code of a command that Ctrl-C has ended, as shells give it."""
READER_GONE = 128 + signal.SIGPIPE
"""The same of a command whose output nobody reads any more: `head` has seen enough."""


def plain_parser(prog: str, description: str | None, epilog: str = "") -> argparse.ArgumentParser:
    """A parser without options; its texts are shown line by line, as they are written."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def line_parser(
    prog: str, description: str, epilog: str = "", default_line: int | None = None
) -> argparse.ArgumentParser:
    """A parser with the options that every command has: --line, --config and --set.

    One of --line and --config must be given, unless there is a `default_line`.
    """
    parser = plain_parser(prog, description, epilog)
    which = parser.add_mutually_exclusive_group(required=default_line is None)
    number = "line number: configs/line_N.yaml"
    if default_line is not None:
        number += f" (default: {default_line})"
    which.add_argument(
        "--line", type=whole_number(0), metavar="N", default=default_line, help=number
    )
    which.add_argument("--config", type=Path, metavar="FILE", help="a configuration file instead")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY.PATH=VALUE",
        help="change one value of the configuration, checked like the file; may be repeated",
    )
    return parser


def load_arguments_line(
    arguments: argparse.Namespace, extra: Sequence[tuple[str, Any]] = ()
) -> LineConfig:
    """The configuration that --line, --config, --set and the command's own options ask for."""
    overrides = [parse_override(text) for text in arguments.overrides]
    config = load_line(config_path(arguments), [*overrides, *extra])
    return config.asked_for_by(shlex.join(line_options(arguments)))


def line_options(arguments: argparse.Namespace, changes: Sequence[str] = ()) -> list[str]:
    """--line or --config, and each --set, as they were given, for the next command to type; with
    further `changes` of the configuration, each as KEY.PATH=VALUE.
    """
    by_file = arguments.config is not None
    line = ("--config", arguments.config) if by_file else ("--line", arguments.line)
    overrides = (*arguments.overrides, *changes)
    return [*map(str, line), *(word for change in overrides for word in ("--set", change))]


def config_path(arguments: argparse.Namespace) -> Path:
    """The configuration file that --line or --config names."""
    if arguments.config is not None:
        return Path(arguments.config).resolve()
    return line_file(arguments.line)


def images_override(folder: Path, camera: Section) -> tuple[str, Any]:
    """`--images DIR` as a change of the configuration: a folder takes the camera's place, or that
    of the folder which it has, whose rate stays.
    """
    if not folder.is_dir():
        raise ConfigError(f"--images {folder}: no such folder")
    if isinstance(camera, FolderCamera):
        return "camera.folder", str(folder.resolve())
    return "camera", {"kind": "folder", "folder": str(folder.resolve()), "rate_hz": None}


def drawing_camera(config: LineConfig, option: str) -> SimulatedCamera:
    """The line's simulated camera, for --parts. Raises ConfigError, naming `option` instead."""
    if isinstance(config.camera, SimulatedCamera):
        return config.camera
    raise ConfigError(
        f"--parts: line {config.line} has a camera of kind {config.camera.kind}, and only a "
        f"simulated one can draw parts; give {option} instead"
    )


def whole_number(least: int) -> Callable[[str], int]:
    """A reader of whole numbers from `least` on, for argparse."""

    def whole(text: str) -> int:
        value = _read(int, text, "a whole number")
        if value < least:
            raise argparse.ArgumentTypeError(f"{text}: expected {least} or more")
        return value

    return whole


def number(text: str) -> float:
    """A reader of numbers, for argparse."""
    return _read(float, text, "a number")


def above_zero(text: str) -> float:
    """A reader of finite numbers above 0, for argparse."""
    value = number(text)
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return value


def share(text: str) -> float:
    """A reader of shares from 0 to 1, for argparse."""
    value = number(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text}: expected a share from 0 to 1")
    return value


def one_of(kinds: type[Kind]) -> Callable[[str], Kind]:
    """A reader of the values of an enumeration, for argparse."""

    def kind(text: str) -> Kind:
        try:
            return kinds(text)
        except ValueError as error:
            known = ", ".join(str(item.value) for item in kinds)
            raise argparse.ArgumentTypeError(f"{text}: expected one of {known}") from error

    return kind


def _read(kind: Callable[[str], Number], text: str, wanted: str) -> Number:
    try:
        return kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: expected {wanted}") from error


def run_command(command: Callable[[], int]) -> int:
    """Run a command's body; a LineError, and Ctrl-C, become one message and an exit code.

    A command ends without a word where the reader of its output has gone.
    """
    try:
        code = command()
        sys.stdout.flush()
    except LineError as error:
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        if _is_read(sys.stdout.fileno()):
            raise
        _discard(sys.stdout.fileno())
        return READER_GONE
    return code


def _is_read(descriptor: int) -> bool:
    """Whether the other end of a pipe or socket is there; of anything else, always."""
    other_end = select.poll()
    other_end.register(descriptor, 0)  # 0: nothing but errors
    return not other_end.poll(0)


def _discard(descriptor: int) -> None:
    """Let what is still written go nowhere, so that Python does not complain at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _complain(text: str) -> None:
    print(f"{sys.argv[0].rsplit('/', 1)[-1]}: {text}", file=sys.stderr)
