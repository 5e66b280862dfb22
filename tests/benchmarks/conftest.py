"""A small data set in the MVTec layout, and the arguments of trainings that take seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from stages.acquisition.simulation import PartRenderer

SMALL = ("--steps", "2", "--input-px", "64", "--device", "cpu")
SETTINGS = ("--set", "batch_size=2", "--set", "validation_images=4", "--set", "pool_images=4")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small networks are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def short() -> list[str]:
    """Two steps at 64 pixels on the CPU."""
    return [*SMALL, *SETTINGS]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """26 good parts of brushed metal to train on; to test 4 good, 2 cracked, 2 scratched ones."""
    folder = tmp_path_factory.mktemp("metal")
    renderer = PartRenderer("brushed_metal", (128, 128), 1, defect_share=0.0)
    for number in range(26):
        write(folder / f"train/good/{number:03}.png", renderer.render(number).image)
    for number in range(4):
        write(folder / f"test/good/{number:03}.png", renderer.render(100 + number).image)
    for kind in ("crack", "scratch"):
        for number in range(2):
            part = renderer.render(200 + number, kind=kind)
            write(folder / f"test/{kind}/{number:03}.png", part.image)
            marked = np.where(part.mask, np.uint8(255), np.uint8(0))
            write(folder / f"ground_truth/{kind}/{number:03}_mask.png", marked)
    return folder


def write(file: Path, image: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), image)
