"""The bell: whoever waits hears that it was rung, once, and from whatever thread."""

from __future__ import annotations

import gc
import os
import select
import threading

import pytest

from pipeline.bell import Bell


def is_rung(bell: Bell, timeout_s: float = 0.0) -> bool:
    return bool(select.select([bell], [], [], timeout_s)[0])


def test_it_is_heard_once_however_often_it_was_rung() -> None:
    bell = Bell()
    assert not is_rung(bell)
    assert not bell.hear()
    bell.ring()
    bell.ring()
    assert is_rung(bell)
    assert bell.hear()
    assert not is_rung(bell)
    assert not bell.hear()


def test_another_thread_wakes_who_waits() -> None:
    bell = Bell()
    ringer = threading.Timer(0.01, bell.ring)
    ringer.start()
    assert is_rung(bell, 10.0)
    ringer.join()


def test_its_file_goes_with_it() -> None:
    bell = Bell()
    file = bell.fileno()
    del bell
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)
