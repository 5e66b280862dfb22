from __future__ import annotations

import argparse

import pytest

from benchmarks.table import list_of, names_of, text_table


def test_columns_are_aligned_and_nothing_is_cut() -> None:
    text = text_table(["size", "images/s"], [["tiny", "101.5"], ["a very long name", "7"]])
    assert text.splitlines() == [
        "size              images/s",
        "tiny                 101.5",
        "a very long name         7",
    ]


def test_names_keep_their_order_and_come_once() -> None:
    assert names_of(["a", "b", "c"])("c, a,c") == ["c", "a"]


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="'x': choose of a, b"):
        names_of(["a", "b"])("a,x")


def test_a_list_keeps_its_order_and_takes_each_value_once() -> None:
    assert list_of(float)("5, 0.3,5.0") == [5.0, 0.3]
    with pytest.raises(ValueError, match="x"):
        list_of(float)("1,x")
