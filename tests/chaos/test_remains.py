"""What a line leaves behind is found, whoever left it and wherever it lies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos import remains
from chaos.line import RunningLine
from chaos.remains import left_behind, left_meanwhile, shared_memory
from chaos.switches import ENVIRONMENT
from pipeline.config import LineConfig
from pipeline.config_file import line_file, load_line


@pytest.fixture
def config(tmp_path: Path) -> LineConfig:
    places = {"data_folder": tmp_path / "data", "run_folder": tmp_path / "run"}
    return load_line(line_file(3)).model_copy(update=places)


@pytest.fixture
def line(config: LineConfig, tmp_path: Path) -> RunningLine:
    return RunningLine(config, tmp_path)


def texts(line: RunningLine) -> list[str]:
    return [violation.text for violation in left_behind(line)]


def test_a_line_that_has_left_nothing(line: RunningLine) -> None:
    assert texts(line) == []


def test_a_process_is_found_by_what_it_was_started_with(line: RunningLine, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={ENVIRONMENT: str(tmp_path / "switches")},
    )
    try:
        assert any(f"process {child.pid} " in text for text in texts(line))
    finally:
        child.communicate(b"\n")
    assert texts(line) == []


@pytest.mark.parametrize(
    "place", ["temporary/torch_9", "data/ledger/s-000001.unfinished", "data/log.sqlite-wal"]
)
def test_a_file_is_found(line: RunningLine, tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_bytes(b"")

    assert texts(line) == [f"left behind: {tmp_path / place}"]


def test_a_run_folder_is_found(line: RunningLine, config: LineConfig) -> None:
    config.run_dir.mkdir(parents=True)

    assert texts(line) == [f"left behind: {config.run_dir}"]


def test_after_a_recovery_a_file_that_a_process_uses_is_not_left_behind(
    line: RunningLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "strays", list)
    file = line.temporary / "half"
    with file.open("wb"):
        assert left_meanwhile(line, shared_memory()) == []
    (violation,) = left_meanwhile(line, shared_memory())
    assert violation.text == f"left behind by the recovery: {file}"


def test_a_process_of_an_earlier_start_is_a_stray_and_a_child_of_the_present_one_is_not(
    line: RunningLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = subprocess.Popen(
        ["sleep", "60"], env={ENVIRONMENT: str(tmp_path / "switches")}, stdout=subprocess.DEVNULL
    )
    monkeypatch.setattr(remains, "ENDING_S", 0.1)
    monkeypatch.setattr(RunningLine, "supervisor", os.getpid())
    assert line.strays() == []
    monkeypatch.setattr(RunningLine, "supervisor", 1)
    assert line.strays() == []
    monkeypatch.setattr(RunningLine, "supervisor", child.pid + 1_000_000)
    assert line.strays() == [child.pid]
    assert [v.text for v in left_meanwhile(line, shared_memory())] == [
        f"left behind by the recovery: process {child.pid}"
    ]
    child.kill()
    child.wait()
    assert left_meanwhile(line, shared_memory()) == []
