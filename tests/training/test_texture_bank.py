from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import InputError
from training.texture_bank import load_textures


def grey_levels(folder: Path, count: int) -> None:
    """Textures of one grey level each: 0, 1, 2 and so on."""
    for level in range(count):
        cv2.imwrite(str(folder / f"{level}.png"), np.full((16, 16), level, np.uint8))


def levels_of(folder: Path, seed: int, most: int) -> list[int]:
    images = load_textures(folder, (8, 8, 1), seed, most).images
    assert (images == images[:, :1, :1]).all()
    return [int(image[0, 0, 0]) for image in images]


def test_a_folder_of_textures_is_read_to_size(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((30, 50, 3), (0, 0, 200), np.uint8))

    bank = load_textures(tmp_path, (64, 32, 3), seed=0)

    assert bank.images.shape == (1, 64, 32, 3)
    assert bank.images[0, 0, 0].tolist() == [200, 0, 0]  # RGB
    assert bank.summary == "1 texture to paint with"


def test_the_digest_is_of_the_images_and_not_of_their_folder(tmp_path: Path) -> None:
    for name in ("one", "other", "less"):
        (tmp_path / name).mkdir()
        grey_levels(tmp_path / name, 2 if name == "less" else 3)

    banks = (load_textures(tmp_path / name, (8, 8, 1), 0) for name in ("one", "other", "less"))
    one, other, less = (bank.digest for bank in banks)

    assert one == other != less


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stored", [(16, 16), (16, 16, 3), (16, 16, 4)])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_textures_of_every_sort_are_read(
    tmp_path: Path, stored: tuple[int, ...], channels: int, depth: type
) -> None:
    full = np.iinfo(depth).max
    cv2.imwrite(str(tmp_path / "a.png"), np.full(stored, full, depth))

    bank = load_textures(tmp_path, (8, 8, channels), seed=0)

    assert bank.images.shape == (1, 8, 8, channels)
    assert bank.images.min() == 255


def test_of_many_textures_a_bounded_number_is_drawn_evenly(tmp_path: Path) -> None:
    grey_levels(tmp_path, 40)

    drawn = levels_of(tmp_path, 3, most=10)

    assert len(set(drawn)) == 10
    assert min(drawn) < 10
    assert max(drawn) >= 30
    assert drawn == levels_of(tmp_path, 3, most=10)
    assert set(drawn) != set(levels_of(tmp_path, 4, most=10))
    assert levels_of(tmp_path, 3, most=40) == list(range(40))
    summary = load_textures(tmp_path, (8, 8, 1), 3, most=10).summary
    assert summary.startswith("10 textures to paint with, drawn from the 40 of the folder")


def test_the_bank_is_held_once(tmp_path: Path) -> None:
    grey_levels(tmp_path, 12)
    size = (256, 256, 3)
    tracemalloc.start()
    try:
        bank = load_textures(tmp_path, size, seed=0)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(bank.images) == 12
    assert most < 1.5 * 12 * np.prod(size)


def test_damaged_textures_are_counted_named_and_replaced(tmp_path: Path) -> None:
    grey_levels(tmp_path, 12)
    for name in range(6):
        (tmp_path / f"broken {name}.png").write_bytes(b"no image")

    bank = load_textures(tmp_path, (8, 8, 1), seed=0)
    few = load_textures(tmp_path, (8, 8, 1), seed=0, most=11)

    assert len(bank.images) == 12
    assert [name for name, _ in bank.skipped] == [f"broken {i}.png" for i in range(6)]
    assert "skipped broken 4.png: " in bank.summary
    assert "broken 5" not in bank.summary
    assert bank.summary.endswith("and 1 more skipped")
    assert "drawn from" not in bank.summary
    assert len(few.images) == 11


def test_a_folder_without_textures_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")

    with pytest.raises(InputError, match=r"no readable texture[^\n]*\n  skipped broken.png: "):
        load_textures(tmp_path, (64, 64, 1), seed=0)
