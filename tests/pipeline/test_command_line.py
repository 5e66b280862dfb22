"""What all commands share: which line, which changes, and the exit codes."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.command_line import (
    above_zero,
    config_path,
    images_override,
    line_parser,
    load_arguments_line,
    one_of,
    run_command,
    share,
    whole_number,
)
from pipeline.config import FolderCamera
from pipeline.config_file import line_file
from pipeline.control import LineState
from pipeline.errors import (
    BundleError,
    CalibrationError,
    ConfigError,
    FrameError,
    InputError,
    LineError,
    NotReadyError,
    TrainingError,
    WireError,
)
from pipeline.messages import Reason

WAITING = """
import signal
import sys
from pipeline.command_line import run_command

def wait():
    print("waiting", flush=True)
    sys.stdin.read()
    return 0

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins without
sys.exit(run_command(wait))
"""


WRITING = """
import sys
from pipeline.command_line import run_command

def write():
    print("first", flush=True)
    sys.stdin.readline()
    print("second", flush={flush})
    return 0

sys.exit(run_command(write))
"""


def arguments(*words: str) -> argparse.Namespace:
    return line_parser("test_line", "A test.").parse_args(words)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LineError("x"), 1),
        (TrainingError("x"), 1),
        (WireError("x"), 1),
        (FrameError(Reason.FRAME_BLACK, "x"), 1),
        (ConfigError("x"), 2),
        (InputError("x"), 2),
        (NotReadyError("x"), 3),
        (BundleError("x"), 3),
        (CalibrationError("x"), 3),
    ],
)
def test_an_error_is_one_message_and_its_exit_code(
    error: LineError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int:
        raise error

    assert run_command(command) == code
    said = capsys.readouterr()
    assert said.err.endswith(": x\n")
    assert said.out == ""


def test_success_is_the_commands_own_code() -> None:
    assert run_command(lambda: 0) == 0


def test_ctrl_c_is_one_word_and_its_exit_code() -> None:
    command = [sys.executable, "-c", WAITING]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)
    assert said == ("", "-c: interrupted\n")
    assert process.returncode == 130


@pytest.mark.parametrize("flush", [True, False])
def test_a_reader_that_has_seen_enough_is_no_fault(flush: bool) -> None:
    command = [sys.executable, "-c", WRITING.format(flush=flush)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "first\n"
        process.stdout.close()
        process.stdin.write("go on\n")
        process.stdin.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 141


def test_another_broken_pipe_is_not_hidden() -> None:
    def command() -> int:
        raise BrokenPipeError("of some socket")

    with pytest.raises(BrokenPipeError, match="of some socket"):
        run_command(command)


def test_a_programmers_mistake_is_not_hidden() -> None:
    def command() -> int:
        raise AssertionError("impossible")

    with pytest.raises(AssertionError, match="impossible"):
        run_command(command)


def test_a_line_is_named_by_number_or_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_path(arguments("--line", "3")) == line_file(3)
    monkeypatch.chdir(tmp_path)
    assert config_path(arguments("--config", "my.yaml")) == tmp_path / "my.yaml"


@pytest.mark.parametrize(
    "words", [[], ["--line", "three"], ["--line", "3", "--config", "x"], ["--line", "3", "--lime"]]
)
def test_arguments_that_make_no_sense_end_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        arguments(*words)
    assert caught.value.code == 2


def test_changes_apply_in_their_order_and_the_commands_own_last() -> None:
    options = arguments("--line", "3", "--set", "batch.size=2", "--set", "batch.size=5")
    assert load_arguments_line(options).batch.size == 5
    assert load_arguments_line(options, [("batch.size", 7)]).batch.size == 7


def test_changes_are_checked_like_the_file() -> None:
    with pytest.raises(ConfigError, match=r"batch\.sise: unknown key"):
        load_arguments_line(arguments("--line", "3", "--set", "batch.sise=2"))
    with pytest.raises(ConfigError, match=r"--set batch: expected key\.path=value"):
        load_arguments_line(arguments("--line", "3", "--set", "batch"))


def test_a_folder_of_images_takes_the_cameras_place(tmp_path: Path) -> None:
    given = arguments("--line", "3")
    own = load_arguments_line(given).camera
    config = load_arguments_line(given, [images_override(tmp_path, own)])
    assert isinstance(config.camera, FolderCamera)
    assert config.camera.folder == tmp_path
    assert config.camera.rate_hz is None
    with pytest.raises(ConfigError, match=r"--images .*: no such folder"):
        images_override(tmp_path / "nowhere", own)


def test_another_folder_is_shown_at_the_rate_of_the_lines_own(tmp_path: Path) -> None:
    folder = "camera={kind: folder, folder: /own, rate_hz: 2.5, repeat: true}"
    given = arguments("--line", "3", "--set", folder)
    own = load_arguments_line(given).camera
    camera = load_arguments_line(given, [images_override(tmp_path, own)]).camera
    assert camera == own.model_copy(update={"folder": tmp_path})


def test_whole_numbers_from_a_least_one_on() -> None:
    assert whole_number(1)("1") == 1
    assert whole_number(0)("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match="expected 1 or more"):
        whole_number(1)("0")
    with pytest.raises(argparse.ArgumentTypeError, match="many: expected a whole number"):
        whole_number(1)("many")


def test_one_of_the_values_of_an_enumeration() -> None:
    assert one_of(LineState)("RUNNING") is LineState.RUNNING
    with pytest.raises(argparse.ArgumentTypeError, match=r"WALKING: expected one of .*RUNNING"):
        one_of(LineState)("WALKING")


@pytest.mark.parametrize("text", ["0", "-2", "inf", "nan"])
def test_a_number_above_zero_is_finite(text: str) -> None:
    assert above_zero("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match="expected a number above 0"):
        above_zero(text)


@pytest.mark.parametrize("text", ["-0.1", "1.01", "nan"])
def test_a_share_lies_between_nothing_and_everything(text: str) -> None:
    assert (share("0"), share("1")) == (0.0, 1.0)
    with pytest.raises(argparse.ArgumentTypeError, match="expected a share from 0 to 1"):
        share(text)


def test_a_command_may_have_a_line_of_its_own() -> None:
    parser = line_parser("test_line", "A test.", default_line=3)

    assert config_path(parser.parse_args([])) == line_file(3)
    assert config_path(parser.parse_args(["--line", "1"])) == line_file(1)
    chosen = parser.parse_args(["--config", "/somewhere/line.yaml"])
    assert config_path(chosen) == Path("/somewhere/line.yaml")
