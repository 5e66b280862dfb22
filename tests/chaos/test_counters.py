"""What the camera's process has numbered is known although the line deletes its count."""

from __future__ import annotations

from pathlib import Path

from chaos.counters import COUNTER_FILE, PartCounters
from pipeline.run_folder import SESSION_FILE
from stages.acquisition.sequence import SequenceCounter


def begin(run_dir: Path, session: str) -> SequenceCounter:
    for file in run_dir.iterdir():
        file.unlink()
    (run_dir / SESSION_FILE).write_text(f"{session}\n")
    return SequenceCounter(run_dir / COUNTER_FILE)


def test_each_session_keeps_its_count(tmp_path: Path) -> None:
    counters = PartCounters(tmp_path)
    first = begin(tmp_path, "a")
    counters.look()
    for _ in range(3):
        first.next()
    second = begin(tmp_path, "b")
    counters.look()
    counters.look()
    second.next()
    first.next()
    assert counters.numbered() == {"a": 4, "b": 1}


def test_a_restarted_process_counts_on_in_the_same_file(tmp_path: Path) -> None:
    counters = PartCounters(tmp_path)
    begin(tmp_path, "a").next()
    counters.look()
    SequenceCounter(tmp_path / COUNTER_FILE).next()
    assert counters.numbered() == {"a": 2}


def test_a_line_that_is_not_there_or_has_not_numbered_yet(tmp_path: Path) -> None:
    counters = PartCounters(tmp_path / "run")
    counters.look()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / SESSION_FILE).write_text("a\n")
    counters.look()
    (tmp_path / "run" / COUNTER_FILE).touch()
    counters.look()
    assert counters.numbered() == {}
