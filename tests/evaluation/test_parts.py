from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from evaluation.datasets import GOOD, LabelledFile
from evaluation.parts import SEED_OFFSET, dataset_parts, drawn_parts, file_parts, read_parts
from pipeline.config import LineConfig
from pipeline.config_file import line_file, load_line
from pipeline.errors import ConfigError, InputError


@pytest.fixture
def config(tiny_line: Path) -> LineConfig:
    return load_line(tiny_line)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for kind, count in (("good", 3), ("dent", 2)):
        inner = tmp_path / "test" / kind
        inner.mkdir(parents=True)
        for index in range(count):
            pixels = np.random.default_rng(index).integers(0, 256, (128, 128), dtype=np.uint8)
            cv2.imwrite(str(inner / f"{index}.png"), pixels)
    return tmp_path


def test_drawn_parts_are_of_all_kinds_in_turn(config: LineConfig) -> None:
    found = read_parts(drawn_parts(config, 4, None, "--dataset DIR"))
    kinds = [part.kind for part in found.parts]
    assert kinds[::2] == [GOOD, GOOD]
    assert len({GOOD, *kinds}) == 3
    assert set(found.kinds) == set(kinds)
    assert found.parts[0].image.shape == (64, 64, 1)
    assert f"seed {3 + SEED_OFFSET}" in found.source


def test_a_seed_draws_parts_of_its_own(config: LineConfig) -> None:
    first, again, other = (
        read_parts(drawn_parts(config, 2, seed, "--dataset DIR")).parts[0].image
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_only_a_simulated_camera_draws() -> None:
    with pytest.raises(ConfigError, match="give --images DIR instead"):
        drawn_parts(load_line(line_file(1)), 4, None, "--images DIR")


def test_a_data_set_gives_at_most_so_many_of_each_kind(config: LineConfig, folder: Path) -> None:
    assert len(read_parts(dataset_parts(folder, config.frame, None)).parts) == 5
    few = read_parts(dataset_parts(folder, config.frame, 1))
    assert sorted(part.kind for part in few.parts) == ["dent", GOOD]
    assert few.source.endswith("at most 1 images of each kind")


def test_files_without_a_usable_image_are_refused(config: LineConfig, folder: Path) -> None:
    broken = folder / "broken.png"
    broken.write_bytes(b"no image")
    files = [LabelledFile(broken, "broken.png", GOOD, ())]
    with pytest.raises(InputError, match="none of 1 images can be used"):
        read_parts(file_parts(files, "folder x", config.frame, None))
