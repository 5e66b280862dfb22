from __future__ import annotations

import numpy as np

from training.augment import ViewSource
from training.settings import TrainingSettings


def settings(**changes: object) -> TrainingSettings:
    plain = {"steps": 1, "crop_px": 32, "brightness_jitter": 0.0, "whole_share": 0.0}
    return TrainingSettings.model_validate(plain | changes)


def occurs_in(view: np.ndarray, images: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(images[..., 0], view.shape[:2], (1, 2))
    return bool((windows == view[..., 0]).all(axis=(3, 4)).any())


def test_crops_are_pieces_of_the_images(normals: np.ndarray) -> None:
    views = ViewSource(normals[:3], settings()).draw(np.random.default_rng(0))

    assert views.normals.shape == (4, 32, 32, 1)
    assert views.normals.dtype == np.uint8
    assert views.foregrounds.min() == 1.0
    assert not views.whole
    assert all(occurs_in(view, normals[:3]) for view in views.normals)


def test_whole_images_come_in_batches_of_as_many_pixels(normals: np.ndarray) -> None:
    views = ViewSource(normals, settings(whole_share=1.0)).draw(np.random.default_rng(0))

    assert views.normals.shape == (1, 64, 64, 1)
    assert views.whole


def test_a_crop_as_large_as_the_image_is_the_whole_image(normals: np.ndarray) -> None:
    views = ViewSource(normals, settings(crop_px=64)).draw(np.random.default_rng(0))

    assert views.normals.shape == (4, 64, 64, 1)
    assert views.whole


def test_flips_mirror_the_asked_axis_only(normals: np.ndarray) -> None:
    source = ViewSource(normals[:1], settings(crop_px=64, flip_vertical=True, batch_size=8))
    views = source.draw(np.random.default_rng(0)).normals

    as_is = [np.array_equal(view, normals[0]) for view in views]
    flipped = [np.array_equal(view, normals[0, ::-1]) for view in views]
    assert all(a != b for a, b in zip(as_is, flipped, strict=True))
    assert any(flipped)
    assert any(as_is)


def test_brightness_jitter_is_slight_and_repeats(normals: np.ndarray) -> None:
    source = ViewSource(normals[:1], settings(crop_px=64, brightness_jitter=0.05))
    views = [source.draw(np.random.default_rng(seed)).normals for seed in (0, 0, 1)]

    shifts = views[0].astype(float).mean(axis=(1, 2, 3)) - normals[0].mean()
    assert np.abs(shifts).max() < 20
    assert np.abs(shifts).max() > 1
    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])


def test_the_background_is_kept_out_of_the_foreground() -> None:
    plate = np.full((1, 64, 64, 1), 15, np.uint8)
    plate[:, 16:48, 16:48] = 160

    views = ViewSource(plate, settings(crop_px=64)).draw(np.random.default_rng(0))

    assert views.foregrounds[:, 32, 32].min() == 1.0
    assert views.foregrounds[:, 2, 2].max() == 0.0
