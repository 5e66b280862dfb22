"""The run folder: private, owned by one line at a time, clean at the start, gone at the end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import LineConfig
from pipeline.config_file import load_line, write_line
from pipeline.errors import ConfigError, LineError
from pipeline.run_folder import LOCK_FILE, SESSION_FILE, RunFolder, line_as_run, new_session

MakeConfig = Callable[..., LineConfig]
HOLD = """
import sys
from pathlib import Path
from pipeline.config_file import load_line
from pipeline.run_folder import RunFolder

folder = RunFolder(load_line(Path(sys.argv[1])))
folder.open()
print("open", flush=True)
sys.stdin.read()
folder.close()
"""
COMPETE = """
import sys
from pathlib import Path
from pipeline.config_file import load_line
from pipeline.errors import LineError
from pipeline.run_folder import RunFolder

config, opened, refused = load_line(Path(sys.argv[1])), 0, 0
while opened < 60:
    folder = RunFolder(config)
    try:
        folder.open()
    except LineError:
        refused += 1
        continue
    session = (folder.path / "session").read_text()
    assert session == folder.session, f"{session} moved in while {folder.session} was open"
    assert load_line(folder.config_file) == config
    folder.close()
    opened += 1
"""


@pytest.fixture
def config(make_config: MakeConfig, run_dir: Path) -> LineConfig:
    return make_config({"run_folder": str(run_dir / "run")})


@pytest.fixture
def config_file(config: LineConfig, tmp_path: Path) -> Path:
    file = tmp_path / "as_written.yaml"
    write_line(config, file)
    return file


def start(program: str, config_file: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", program, str(config_file)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_the_folder_is_private_and_says_what_runs(config: LineConfig) -> None:
    folder = RunFolder(config)
    folder.open()
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert load_line(folder.config_file) == config
    assert (folder.path / SESSION_FILE).read_text(encoding="ascii") == folder.session
    assert (folder.path / LOCK_FILE).read_text(encoding="ascii") == f"{os.getpid()}\n"
    folder.close()
    assert not folder.path.exists()


def test_an_open_folder_of_others_is_made_private(config: LineConfig) -> None:
    config.run_dir.mkdir(mode=0o777)
    config.run_dir.chmod(0o777)
    folder = RunFolder(config)
    folder.open()
    assert config.run_dir.stat().st_mode & 0o777 == 0o700
    folder.close()


def test_a_second_owner_is_refused_and_told_who_is_there(
    config: LineConfig, config_file: Path
) -> None:
    first = start(HOLD, config_file)
    assert first.stdout is not None
    assert first.stdout.readline() == b"open\n"
    second = RunFolder(config)
    with pytest.raises(LineError, match=rf"line 3 is running already \(process {first.pid}\)"):
        second.open()
    second.close()
    assert (config.run_dir / SESSION_FILE).exists(), "the refused one must not clean up"
    first.communicate()
    assert first.returncode == 0
    assert not config.run_dir.exists()


def test_what_a_killed_line_left_is_cleaned(config: LineConfig, config_file: Path) -> None:
    killed = start(HOLD, config_file)
    assert killed.stdout is not None
    killed.stdout.readline()
    (config.run_dir / "decision.0.evidence").touch()
    (config.run_dir / "sequence").write_bytes(b"12345678")
    (config.run_dir / "a folder").mkdir()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert (config.run_dir / SESSION_FILE).exists()
    folder = RunFolder(config)
    folder.open()
    names = {path.name for path in config.run_dir.iterdir()}
    assert names == {"line.yaml", "lock", "options", "session"}
    assert (config.run_dir / SESSION_FILE).read_text(encoding="ascii") == folder.session
    folder.close()


def test_closing_takes_everything_with_it_and_may_be_repeated(config: LineConfig) -> None:
    folder = RunFolder(config)
    folder.close()
    folder.open()
    (config.run_dir / "decision.0.evidence").touch()
    (config.run_dir / "more").mkdir()
    folder.close()
    folder.close()
    assert not config.run_dir.exists()
    folder.open()
    assert config.run_dir.exists()
    folder.close()


def test_a_folder_that_somebody_deleted_is_no_reason_to_fail(config: LineConfig) -> None:
    folder = RunFolder(config)
    folder.open()
    for file in config.run_dir.iterdir():
        file.unlink()
    config.run_dir.rmdir()
    folder.close()
    assert not config.run_dir.exists()


def test_lines_that_come_and_go_at_once_never_share_the_folder(config_file: Path) -> None:
    competitors = [start(COMPETE, config_file) for _ in range(3)]
    for competitor in competitors:
        competitor.communicate(timeout=60)
    assert [competitor.returncode for competitor in competitors] == [0, 0, 0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_another_user_is_refused(config: LineConfig) -> None:
    config.run_dir.mkdir()
    os.chown(config.run_dir, 12345, -1)
    with pytest.raises(LineError, match="belongs to another user; set run_folder"):
        RunFolder(config).open()


@pytest.fixture
def default_config(
    make_config: MakeConfig, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> LineConfig:
    """A line that takes the folder of its user below the system's one."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(run_dir))
    return make_config({"run_folder": None})


def test_the_folder_of_the_user_is_private_at_both_levels(default_config: LineConfig) -> None:
    default_config.run_dir.parent.mkdir(mode=0o755)
    folder = RunFolder(default_config)
    folder.open()
    for path in (folder.path, folder.path.parent):
        assert path.stat().st_mode & 0o777 == 0o700
    folder.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_that_somebody_else_could_swap_is_refused(default_config: LineConfig) -> None:
    default_config.run_dir.mkdir(parents=True)
    os.chown(default_config.run_dir.parent, 12345, -1)
    with pytest.raises(LineError, match=r"inspection-line-\d+ belongs to another user"):
        RunFolder(default_config).open()


@pytest.mark.parametrize("level", [0, 1])
def test_a_link_to_elsewhere_is_not_followed(
    default_config: LineConfig, tmp_path: Path, level: int
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o755)
    (precious / "file").touch()
    link = (default_config.run_dir, default_config.run_dir.parent)[level]
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(precious)
    with pytest.raises(LineError, match="is a link; remove it, or set run_folder"):
        RunFolder(default_config).open()
    assert precious.stat().st_mode & 0o777 == 0o755
    assert (precious / "file").exists()


def test_a_place_where_no_folder_can_be_is_named(config: LineConfig) -> None:
    config.run_dir.touch()
    with pytest.raises(LineError, match=r"no use as a run folder: .*File exists.*; set run_folder"):
        RunFolder(config).open()
    config.run_dir.unlink()
    config.run_dir.symlink_to("/nowhere/at/all")
    with pytest.raises(LineError, match="no use as a run folder"):
        RunFolder(config).open()


def test_the_other_processes_have_the_line_as_it_runs(config: LineConfig) -> None:
    with pytest.raises(ConfigError, match="is not running"):
        line_as_run(config)
    asked = config.model_copy(update={"name": "As run"}).asked_for_by(
        "--line 3 --set 'name=As run'"
    )
    folder = RunFolder(asked)
    folder.open()
    assert (line_as_run(config), line_as_run(config).asked_for) == (asked, asked.asked_for)
    folder.close()


def test_sessions_have_names_of_their_own() -> None:
    names = {new_session() for _ in range(50)}
    assert len(names) > 40
    assert all(re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", name) for name in names)
