from __future__ import annotations

import itertools

from training.randomness import Randomness, Use


def test_everything_that_is_drawn_has_a_generator_of_its_own() -> None:
    keys = itertools.product((0, 1), (0, 1), Use, (0, 1))

    first = {Randomness(s, r).generator(use, n).integers(2**63) for s, r, use, n in keys}

    assert len(first) == 2 * 2 * len(Use) * 2


def test_a_generator_is_the_same_each_time_it_is_asked_for() -> None:
    randomness = Randomness(7, 1)

    draws = [randomness.generator(Use.BATCH, 5).random(3).tolist() for _ in range(2)]

    assert draws[0] == draws[1]
    assert randomness.torch_seed(Use.NOISE, 5) == randomness.torch_seed(Use.NOISE, 5)


def test_what_is_common_is_equal_in_all_processes() -> None:
    common = [Randomness(7, rank).common(Use.POOL_RENEWAL, 5).random() for rank in range(3)]

    assert len(set(common)) == 1
