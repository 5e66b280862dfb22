"""The counter of parts: no number twice, whatever happens to the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import LineError
from stages.acquisition.sequence import SequenceCounter

COUNT_FOR_EVER = """
import sys
from pathlib import Path
from stages.acquisition.sequence import SequenceCounter
counter = SequenceCounter(Path(sys.argv[1]))
while True:
    print(counter.next(), flush=True)
"""


def test_it_counts_from_one(tmp_path: Path) -> None:
    counter = SequenceCounter(tmp_path / "sequence")
    assert counter.last == 0
    assert [counter.next() for _ in range(3)] == [1, 2, 3]
    assert counter.last == 3


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    first = SequenceCounter(tmp_path / "sequence")
    first.next()
    first.close()
    assert SequenceCounter(tmp_path / "sequence").next() == 2


def test_a_killed_process_gives_no_number_twice(tmp_path: Path) -> None:
    path = tmp_path / "sequence"
    given: list[int] = []
    for _ in range(2):
        command = [sys.executable, "-c", COUNT_FOR_EVER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            given += [int(process.stdout.readline()) for _ in range(2000)]
            process.kill()
            rest = process.stdout.read()
        given += [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        last = SequenceCounter(path).last
        assert last - given[-1] in (0, 1)
        assert process.returncode == -9
    assert len(set(given)) == len(given)
    assert given == sorted(given)


@pytest.mark.parametrize("content", [b"1234", b"123456789"])
def test_another_file_is_refused_and_stays(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sequence"
    path.write_bytes(content)
    with pytest.raises(LineError, match="not a counter"):
        SequenceCounter(path)
    assert path.read_bytes() == content
