from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import InputError
from training.textures import displaced, load_textures, procedural_texture, shuffled, turned


@pytest.mark.parametrize("channels", [1, 3])
def test_procedural_textures_stay_in_range_and_vary(channels: int) -> None:
    textures = [
        procedural_texture((64, 48, channels), np.random.default_rng(seed)) for seed in range(12)
    ]

    for texture in textures:
        assert texture.shape == (64, 48, channels)
        assert texture.dtype == np.float32
        assert texture.min() >= -1e-3
        assert texture.max() <= 255.001
    assert min(texture.std() for texture in textures) > 0.5


@pytest.mark.parametrize("change", [shuffled, turned, displaced])
def test_own_pieces_change_the_image_and_leave_the_original(
    change: object, normals: np.ndarray
) -> None:
    image = normals[0].astype(np.float32)
    before = image.copy()

    changed = change(image, np.random.default_rng(0))  # type: ignore[operator]

    assert changed.shape == image.shape
    assert np.abs(changed - image).mean() > 1.0
    assert np.array_equal(image, before)


def test_a_folder_of_textures_is_read_to_size(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((30, 50, 3), (0, 0, 200), np.uint8))

    bank = load_textures(tmp_path, 64, 32, 3)

    assert bank.shape == (1, 64, 32, 3)
    assert bank[0, 0, 0].tolist() == [200, 0, 0]  # RGB


def test_a_folder_without_textures_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")

    with pytest.raises(InputError, match="no readable texture"):
        load_textures(tmp_path, 64, 64, 1)
