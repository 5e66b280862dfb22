"""bdSeq: one more with every connection, also across restarts of the process."""

from __future__ import annotations

import logging

import pytest

from plc.sparkplug.birth_sequence import BirthSequence

LOG = logging.getLogger("plc-test")


def test_counts_from_zero_and_wraps_after_255():
    births = BirthSequence(None, LOG)
    found = []
    for _ in range(258):
        found.append(births.next())
        births.used(found[-1])
    assert found == [*range(256), 0, 1]


def test_an_attempt_that_came_to_nothing_costs_no_number():
    births = BirthSequence(None, LOG)
    assert [births.next(), births.next()] == [0, 0]


def test_goes_on_after_a_restart(tmp_path):
    file = tmp_path / "bdseq.txt"
    first = BirthSequence(file, LOG)
    first.used(first.next())
    first.used(first.next())
    assert BirthSequence(file, LOG).next() == 2
    assert [path.name for path in tmp_path.iterdir()] == ["bdseq.txt"]


def test_a_killed_process_leaves_its_number_behind(tmp_path):
    file = tmp_path / "bdseq.txt"
    assert BirthSequence(file, LOG).next() == 0  # killed before it could say that it was used
    assert BirthSequence(file, LOG).next() == 1


@pytest.mark.parametrize("content", ["", "many", "-1", "256", "\xff"])
def test_a_file_that_makes_no_sense_starts_at_zero(tmp_path, content):
    file = tmp_path / "bdseq.txt"
    file.write_text(content, encoding="latin-1")
    assert BirthSequence(file, LOG).next() == 0


def test_a_disk_that_fails_is_a_warning(tmp_path, caplog):
    births = BirthSequence(tmp_path / "missing" / "bdseq.txt", LOG)
    births.used(births.next())
    assert births.next() == 1
    assert "bdSeq 0 is not kept" in caplog.text
