from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.material import from_dataset, from_product, square_frame
from pipeline.errors import ConfigError, InputError

FRAME = square_frame("grey", 64)


def test_a_data_set_trains_on_its_good_images_and_tests_on_the_others(dataset: Path) -> None:
    material = from_dataset(dataset, FRAME)
    assert material.training.images.shape == (26, 64, 64, 1)
    assert material.test.kinds == ("crack", "good", "scratch")
    assert len(material.test.parts) == 8
    assert np.count_nonzero(material.test.defective) == 4
    assert not material.test.mask_faults


def test_a_folder_without_tests_is_no_data_set(dataset: Path) -> None:
    with pytest.raises(InputError, match="MVTec"):
        from_dataset(dataset / "train" / "good", FRAME)


def test_parts_of_a_product_are_fresh_ones() -> None:
    material = from_product("woven_fabric", square_frame("rgb", 64), parts=24, test_parts=14)
    assert material.training.images.shape == (24, 64, 64, 3)
    assert np.count_nonzero(material.test.defective) == 7
    assert len(material.test.kinds) == 7
    for part in material.test.parts:
        assert not (material.training.images == part.image).all(axis=(1, 2, 3)).any()


def test_an_unknown_product_is_named() -> None:
    with pytest.raises(ConfigError, match="toaster"):
        from_product("toaster", FRAME, parts=24, test_parts=2)
