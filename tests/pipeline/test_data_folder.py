"""A data folder has one owner, and says who that is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.config import LineConfig
from pipeline.config_file import line_file, load_line
from pipeline.data_folder import check_data_folder, owned_data_folder, running_line
from pipeline.errors import ConfigError, LineError

OWNER = """
import sys
from pipeline.config_file import line_file, load_line
from pipeline.data_folder import owned_data_folder
with owned_data_folder(load_line(line_file(3), [("data_folder", sys.argv[1])])):
    print("owned", flush=True)
    sys.stdin.read()
"""


def config_of(folder: Path, line: int = 3) -> LineConfig:
    return load_line(line_file(3), [("data_folder", str(folder)), ("line", line)])


@contextmanager
def owner_of(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the folder, for line 3."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        yield process
        process.kill()


@pytest.mark.parametrize("line", [3, 7])
def test_a_folder_that_a_line_has_is_refused_to_every_other_one(tmp_path: Path, line: int) -> None:
    folder = tmp_path / "data"
    with owner_of(folder) as owner:
        named = rf"data_folder {folder} is in use by line 3 \(process {owner.pid}\); stop that line"
        with pytest.raises(LineError, match=named), owned_data_folder(config_of(folder, line)):
            pytest.fail("both have it")
    with owned_data_folder(config_of(folder)):  # a killed owner has left it
        pass


def test_a_folder_stays_the_line_s_that_had_it(tmp_path: Path) -> None:
    with owned_data_folder(config_of(tmp_path)):
        pass
    other = config_of(tmp_path, line=7)
    for attempt in (owned_data_folder(other).__enter__, lambda: check_data_folder(other)):
        with pytest.raises(ConfigError, match=r"has the parts of line 3; give line 7 a data_fold"):
            attempt()
    (tmp_path / "lock").unlink()  # as the message says of a line under a new number
    with owned_data_folder(other):
        pass
    check_data_folder(other)


def test_a_running_line_is_told_from_others_and_from_none(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert not running_line(config_of(folder))
    with owner_of(folder) as owner:
        assert running_line(config_of(folder)) == f"line 3 (process {owner.pid})"
        assert not running_line(config_of(folder, line=33))
    assert not running_line(config_of(folder))


def test_the_check_takes_no_offence_at_its_own_line(tmp_path: Path) -> None:
    with owner_of(tmp_path):
        check_data_folder(config_of(tmp_path))
        with pytest.raises(LineError, match="in use by line 3"):
            check_data_folder(config_of(tmp_path, line=33))
    check_data_folder(config_of(tmp_path))


def test_the_check_makes_nothing(tmp_path: Path) -> None:
    check_data_folder(config_of(tmp_path / "not" / "yet"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_folder_that_cannot_be_made_is_a_users_mistake(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("in the way")
    config = config_of(tmp_path / "file" / below)
    with pytest.raises(ConfigError, match=r"nothing can be written there .* set data_folder"):
        check_data_folder(config)
    with pytest.raises(ConfigError), owned_data_folder(config):
        pytest.fail("there is no folder")
