"""The journal: whole lines whatever happens to the writer, and segments in their order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from full_disk import full_disk
from pipeline.errors import LineError
from pipeline.journal import (
    UNFINISHED,
    JournalWriter,
    NotWrittenError,
    Segment,
    decode,
    read_lines,
    segments,
)

SESSION = "20261122-071502-3f9a"
WRITE_FOR_EVER = """
import sys
from pathlib import Path
import msgspec
from pipeline.journal import JournalWriter

class Note(msgspec.Struct):
    number: int
    text: str

writer = JournalWriter(Path(sys.argv[1]), "s")
number = 0
while True:
    writer.append(*(Note(number + i, "x" * (number % 3000)) for i in range(3)))
    number += 3
    if number == 300:
        print("writing", flush=True)
"""


class Note(msgspec.Struct):
    number: int
    text: str = ""


def notes(folder: Path, segment: Segment, offset: int = 0) -> list[int]:
    decoder = msgspec.json.Decoder(Note)
    return [decode(line, decoder).number for line, _ in read_lines(folder, segment, offset)]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[JournalWriter]:
    writer = JournalWriter(tmp_path, SESSION)
    yield writer
    writer.close()


def test_what_is_appended_is_read_in_order(tmp_path: Path, writer: JournalWriter) -> None:
    writer.append(Note(1))
    writer.append(Note(2, "line\nbreak and ümläut"), Note(3))
    writer.append()
    assert notes(tmp_path, Segment(SESSION, 1)) == [1, 2, 3]
    assert len((tmp_path / f"{SESSION}.000001.jsonl").read_bytes().splitlines()) == 3


def test_offsets_lead_to_the_next_line(tmp_path: Path, writer: JournalWriter) -> None:
    writer.append(Note(1), Note(2), Note(3))
    segment = Segment(SESSION, 1)
    offsets = [offset for _, offset in read_lines(tmp_path, segment, 0)]
    size = (tmp_path / segment.file_name).stat().st_size
    assert offsets == [size // 3, size // 3 * 2, size]
    assert notes(tmp_path, segment, offsets[0]) == [2, 3]
    assert notes(tmp_path, segment, offsets[2]) == []
    writer.append(Note(4))
    assert notes(tmp_path, segment, offsets[2]) == [4]


def test_a_torn_last_line_is_not_read_and_goes_with_the_next_writer(tmp_path: Path) -> None:
    segment = Segment(SESSION, 1)
    first = JournalWriter(tmp_path, SESSION)
    first.append(Note(1), Note(2))
    first.close()
    with (tmp_path / segment.file_name).open("ab") as file:
        file.write(b'{"number":3,"te')
    assert notes(tmp_path, segment) == [1, 2]
    second = JournalWriter(tmp_path, SESSION)
    second.append(Note(4))
    second.close()
    assert notes(tmp_path, segment) == [1, 2, 4]


def test_a_journal_that_is_one_torn_line_begins_again(tmp_path: Path) -> None:
    (tmp_path / f"{SESSION}.000001.jsonl").write_bytes(b'{"number"')
    writer = JournalWriter(tmp_path, SESSION)
    writer.append(Note(1))
    writer.close()
    assert notes(tmp_path, Segment(SESSION, 1)) == [1]


def test_a_writer_killed_in_the_middle_leaves_whole_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = notes(tmp_path, Segment("s", 1))
    assert found == list(range(len(found)))
    assert len(found) >= 300
    assert (tmp_path / "s.000001.jsonl").read_bytes().endswith(b"\n")


def test_segments_are_found_oldest_first_and_strangers_left_out(tmp_path: Path) -> None:
    names = ["b.000002.jsonl", "b.000001.jsonl", "a.000010.jsonl", "x.1.jsonl", "c.000001.json"]
    for name in names:
        (tmp_path / name).touch()
    assert segments(tmp_path) == [Segment("a", 10), Segment("b", 1), Segment("b", 2)]
    assert segments(tmp_path, "b") == [Segment("b", 1), Segment("b", 2)]
    assert segments(tmp_path / "nowhere") == []
    assert list(read_lines(tmp_path, Segment("gone", 1), 0)) == []


def test_a_new_segment_begins_with_its_snapshot(tmp_path: Path, writer: JournalWriter) -> None:
    writer.append(Note(1))
    writer.next_segment(Note(10), Note(11))
    writer.append(Note(12))
    assert notes(tmp_path, Segment(SESSION, 1)) == [1]
    assert notes(tmp_path, Segment(SESSION, 2)) == [10, 11, 12]


def test_a_writer_goes_on_in_the_newest_segment(tmp_path: Path, writer: JournalWriter) -> None:
    writer.next_segment(Note(1))
    again = JournalWriter(tmp_path, SESSION)
    again.append(Note(2))
    again.close()
    assert notes(tmp_path, Segment(SESSION, 2)) == [1, 2]


def test_a_segment_that_cannot_be_opened_leaves_the_old_one_in_use(
    tmp_path: Path, writer: JournalWriter
) -> None:
    (tmp_path / Segment(SESSION, 2).file_name).mkdir()
    with pytest.raises(OSError, match="directory"):
        writer.next_segment(Note(9))
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    writer.append(Note(1))
    assert os.fstat(other).st_size == 0, "the line went into somebody else's file"
    os.close(other)
    assert notes(tmp_path, Segment(SESSION, 1)) == [1]


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    (tmp_path / Segment(SESSION, 1).file_name).symlink_to("/dev/full")
    writer = JournalWriter(tmp_path, SESSION)
    with pytest.raises(OSError, match="No space left"):
        writer.append(Note(1))
    writer.close()


def test_what_does_not_fit_is_not_there_and_what_fits_is(
    tmp_path: Path, writer: JournalWriter
) -> None:
    segment = Segment(SESSION, 1)
    file = tmp_path / segment.file_name
    writer.append(Note(1))
    line = file.stat().st_size
    for room, fits in ((0, 0), (line - 1, 0), (line, 1), (2 * line + 3, 2)):
        known = notes(tmp_path, segment)
        with full_disk(file.stat().st_size + room):
            with pytest.raises(NotWrittenError, match="File too large") as caught:
                writer.append(Note(2), Note(3), Note(4))
            assert caught.value.recorded == fits
            assert notes(tmp_path, segment) == [*known, 2, 3, 4][: len(known) + fits]
            if not fits:
                with pytest.raises(NotWrittenError):
                    writer.append(Note(5))
        writer.append(Note(6))
        assert notes(tmp_path, segment) == [*[*known, 2, 3, 4][: len(known) + fits], 6]


def test_a_segment_whose_snapshot_does_not_fit_is_not_begun(
    tmp_path: Path, writer: JournalWriter
) -> None:
    writer.append(Note(1))
    with full_disk(100), pytest.raises(OSError, match="File too large"):
        writer.next_segment(Note(10), Note(11, "x" * 200))
    assert [file.name for file in tmp_path.iterdir()] == [f"{SESSION}.000001.jsonl"]
    writer.append(Note(2))
    writer.next_segment(Note(10), Note(11))
    writer.append(Note(12))
    assert notes(tmp_path, Segment(SESSION, 1)) == [1, 2]
    assert notes(tmp_path, Segment(SESSION, 2)) == [10, 11, 12]


def test_a_segment_that_a_killed_writer_left_unfinished_is_removed(tmp_path: Path) -> None:
    unfinished = tmp_path / f"{SESSION}.000002{UNFINISHED}"
    unfinished.write_bytes(b'{"number":1}\n')
    assert segments(tmp_path) == []
    JournalWriter(tmp_path, SESSION).close()
    assert not unfinished.exists()


@pytest.mark.parametrize(
    "line", [b"", b"{", b'{"number":"x"}', b'{"text":""}', b'{"number":1,"text":"\xff"}', b"\x00"]
)
def test_a_damaged_line_is_an_error_that_shows_it(line: bytes) -> None:
    with pytest.raises(LineError, match="journal: damaged line"):
        decode(line + b"\n", msgspec.json.Decoder(Note))
