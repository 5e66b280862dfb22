from __future__ import annotations

import argparse

import pytest

from calibration.arguments import whole_number


def test_whole_numbers_from_a_least_one_on() -> None:
    assert whole_number(1)("1") == 1
    assert whole_number(0)("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match="expected 1 or more"):
        whole_number(1)("0")
    with pytest.raises(ValueError, match="invalid literal"):
        whole_number(1)("many")
