"""What all commands share: which line, which changes, and how errors end a command."""

from __future__ import annotations

import argparse
import math
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import LineConfig, SimulatedCamera
from pipeline.config_file import line_file, load_line, parse_override
from pipeline.errors import ConfigError, LineError

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
    which.add_argument("--line", type=int, metavar="N", default=default_line, help=number)
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
    return load_line(config_path(arguments), [*overrides, *extra])


def config_path(arguments: argparse.Namespace) -> Path:
    """The configuration file that --line or --config names."""
    if arguments.config is not None:
        return Path(arguments.config).resolve()
    return line_file(arguments.line)


def images_override(folder: Path) -> tuple[str, Any]:
    """`--images DIR` as a change of the configuration: a folder takes the camera's place."""
    if not folder.is_dir():
        raise ConfigError(f"--images {folder}: no such folder")
    return "camera", {"kind": "folder", "folder": str(folder.resolve()), "rate_hz": None}


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


def whole_number(least: int) -> Callable[[str], int]:
    """A reader of whole numbers from `least` on, for argparse."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text}: expected {least} or more")
        return value

    return number


def above_zero(text: str) -> float:
    """A reader of finite numbers above 0, for argparse."""
    value = float(text)
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return value


def share(text: str) -> float:
    """A reader of shares from 0 to 1, for argparse."""
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text}: expected a share from 0 to 1")
    return value


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
