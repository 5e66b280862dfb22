from __future__ import annotations

import os
from pathlib import Path

import pytest

from evaluation.output import (
    PAGE,
    check_apart,
    check_file,
    check_report_folder,
    each_tried,
    new_file,
    new_folder,
    raise_all,
    write_text,
)
from pipeline.errors import ConfigError, LineError


def test_a_file_that_cannot_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--json .*: this is a folder"):
        check_file("--json", tmp_path)
    with pytest.raises(ConfigError, match=r"there is no folder .*missing; make it first"):
        check_file("--json", tmp_path / "missing" / "out.json")
    with pytest.raises(ConfigError, match="nothing can be written in /proc"):
        check_file("--json", Path("/proc/out.json"))
    check_file("--json", tmp_path / "out.json")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_a_report_is_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("not of a report")
    with pytest.raises(ConfigError, match=r"holds 'mine.txt', which is not of a report"):
        check_report_folder("--report", tmp_path)
    with pytest.raises(ConfigError, match="this is a file"):
        check_report_folder("--report", tmp_path / "mine.txt")
    with pytest.raises(ConfigError, match="make it first"):
        check_report_folder("--report", tmp_path / "missing" / "report")
    older = tmp_path / "older"
    older.mkdir()
    (older / PAGE).write_text("old")
    check_report_folder("--report", older)
    check_report_folder("--report", tmp_path / "new")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mine.txt", "older"]


def test_a_text_replaces_the_older_one(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    write_text(file, "first")
    write_text(file, "second")
    assert file.read_text() == "second"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_takes_its_place_only_when_all_went_well(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    with new_file(file) as unfinished:
        unfinished.write_bytes(b"first")
        assert not file.exists()
    with pytest.raises(LineError, match="refused"):
        write_and_refuse(file)
    assert file.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(LineError, match=r"cannot be written .*make room"), new_file(file):
        raise OSError(28, "No space left on device")


def write_and_refuse(file: Path) -> None:
    with new_file(file) as unfinished:
        unfinished.write_bytes(b"second")
        raise LineError("refused")


def test_a_text_goes_through_a_link_and_into_a_pipe(tmp_path: Path) -> None:
    link, file, pipe = tmp_path / "link", tmp_path / "file", tmp_path / "pipe"
    link.symlink_to(file)
    write_text(link, "text")
    assert link.is_symlink()
    assert file.read_text() == "text"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    check_file("--json", pipe)
    write_text(pipe, "text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    assert pipe.is_fifo()


def test_a_text_that_cannot_be_written_leaves_the_older_one() -> None:
    with pytest.raises(LineError, match=r"/proc/out\.json: cannot be written"):
        write_text(Path("/proc/out.json"), "text")


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    for name in ("first", "second"):
        with new_folder(folder) as unfinished:
            (unfinished / name).write_text(name)
    assert [entry.name for entry in folder.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [folder]


def break_off(folder: Path, fault: BaseException) -> None:
    with new_folder(folder) as unfinished:
        (unfinished / "half").write_text("")
        raise fault


def test_a_folder_that_fails_leaves_the_older_one(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    with new_folder(folder) as unfinished:
        (unfinished / "whole").write_text("")
    full = OSError(28, "No space left on device")
    with pytest.raises(LineError, match="report: cannot be written"):
        break_off(folder, full)
    with pytest.raises(KeyboardInterrupt):
        break_off(folder, KeyboardInterrupt())
    assert [entry.name for entry in folder.iterdir()] == ["whole"]
    assert list(tmp_path.iterdir()) == [folder]


def test_figures_inside_the_report_that_replaces_them_are_refused(tmp_path: Path) -> None:
    report = tmp_path / "report"
    for inside in (report, report / "out.json", tmp_path / "other" / ".." / "report" / "out.json"):
        with pytest.raises(ConfigError, match="lies in the folder of --report"):
            check_apart(inside, report)
    check_apart(tmp_path / "report.json", report)


def test_one_that_cannot_be_written_does_not_stop_the_others(tmp_path: Path) -> None:
    def fail(text: str) -> None:
        raise ConfigError(text)

    errors = each_tried(
        lambda: fail("first"), lambda: write_text(tmp_path / "a", "text"), lambda: fail("second")
    )
    assert (tmp_path / "a").read_text() == "text"
    with pytest.raises(ConfigError, match="first\nsecond"):
        raise_all(errors)
    raise_all([])
