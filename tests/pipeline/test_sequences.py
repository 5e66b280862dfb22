"""A set of numbers kept as ranges, against a plain set."""

from __future__ import annotations

import random

import pytest

from pipeline.sequences import Sequences


def test_neighbours_become_one_range_in_any_order() -> None:
    numbers = Sequences()
    for number in (5, 3, 9, 4, 4):
        numbers.add(number)
    assert numbers.ranges == ((3, 5), (9, 9))
    assert (len(numbers), str(numbers)) == (4, "3-5, 9")
    numbers.add(6, 8)
    assert numbers.ranges == ((3, 9),)


def test_what_is_taken_out_leaves_the_rest() -> None:
    numbers = Sequences([(1, 10)])
    numbers.discard(5)
    numbers.discard(99)
    assert numbers.ranges == ((1, 4), (6, 10))
    numbers.discard(4, 7)
    assert numbers.ranges == ((1, 3), (8, 10))
    assert 3 in numbers
    assert 4 not in numbers


def test_an_empty_one_is_false_and_has_no_text() -> None:
    assert not Sequences()
    assert str(Sequences()) == ""
    assert Sequences().ranges == ()


@pytest.mark.parametrize("seed", range(20))
def test_it_holds_what_a_set_holds(seed: int) -> None:
    chance = random.Random(seed)
    numbers, plain = Sequences(), set[int]()
    for _ in range(300):
        first = chance.randint(1, 60)
        last = first + chance.choice([0, 0, 0, 1, 7])
        span = set(range(first, last + 1))
        if chance.random() < 0.6:
            numbers.add(first, last)
            plain |= span
        else:
            numbers.discard(first, last)
            plain -= span
        assert {number for number in range(80) if number in numbers} == plain
        assert len(numbers) == len(plain)
        for (_, before), (after, _) in zip(numbers.ranges, numbers.ranges[1:], strict=False):
            assert after > before + 1, "ranges that touch are one"
