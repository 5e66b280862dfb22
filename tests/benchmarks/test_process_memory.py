"""Memory of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from benchmarks.process_memory import (
    SUPERVISOR,
    Memory,
    descendants,
    line_memory,
    memory_of,
    process_name,
    total,
)

HOLD = (
    "import sys; held = bytearray(b'x') * 60_000_000; print('held', flush=True); sys.stdin.read()"
)
STAGE = ("--stage", "segmentation", "--worker", "2")


@pytest.fixture
def child() -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, *STAGE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process.pid
    process.communicate()


def test_a_process_takes_what_it_holds(child: int) -> None:
    memory = memory_of(child)
    assert 60 < memory.resident_mb < 200
    assert 60 < memory.own_mb <= memory.resident_mb


def test_the_processes_of_a_line_are_named_after_their_stages(child: int) -> None:
    assert child in set(descendants(os.getpid()))
    assert process_name(child) == "segmentation.2"
    found = line_memory(os.getpid())
    assert {SUPERVISOR, "segmentation.2"} <= set(found)
    assert found["segmentation.2"].resident_mb > 60


def test_threads_that_come_and_go_hide_no_process(child: int) -> None:
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            thread = threading.Thread(target=bool)
            thread.start()
            thread.join()

    busy = threading.Thread(target=come_and_go)
    busy.start()
    try:
        assert all(child in set(descendants(os.getpid())) for _ in range(300))
    finally:
        ended.set()
        busy.join()


def test_a_line_that_has_ended_has_no_memory() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(FileNotFoundError):
        line_memory(process.pid)


def test_processes_add_up() -> None:
    assert total({"a": Memory(3.0, 2.0), "b": Memory(1.0, 0.5)}) == Memory(4.0, 2.5)
