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


def coordinates(side: int) -> np.ndarray:
    """(1, side, side, 3) uint8: every pixel says where it is, x and y in half pixels."""
    y, x = np.mgrid[:side, :side] * 2
    return np.stack([x, y, np.full_like(x, 100)], axis=-1).astype(np.uint8)[None]


def affine_of(view: np.ndarray) -> np.ndarray:
    """(2, 3): where the pixels of a view come from, fitted to its inner half."""
    height, width = view.shape[:2]
    y, x = np.mgrid[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    y, x = y.ravel(), x.ravel()
    places = np.column_stack([x, y, np.ones_like(x)])
    return np.linalg.lstsq(places, view[y, x, :2] / 2.0, rcond=None)[0].T


def test_warped_views_are_turned_and_zoomed_within_limits() -> None:
    wanted = settings(crop_px=64, warp_share=1.0, turn_deg=5.0, zoom_jitter=0.1, batch_size=32)
    views = ViewSource(coordinates(64), wanted).draw(np.random.default_rng(0)).normals

    maps = np.stack([affine_of(view) for view in views])
    zooms = 1 / np.linalg.norm(maps[:, :, :2], axis=1)
    turns = np.rad2deg(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))
    middles = maps @ [31.5, 31.5, 1.0]
    assert 4.0 < np.abs(turns).max() < 5.3
    assert 0.89 < zooms.min() < 0.92
    assert 1.08 < zooms.max() < 1.11
    assert np.abs(np.diff(zooms)).max() > 0.05, "each way by itself"
    assert np.allclose(middles, 31.5, atol=0.3)


def test_warped_crops_come_from_where_they_were_cut() -> None:
    wanted = settings(warp_share=1.0, batch_size=32)
    views = ViewSource(coordinates(96), wanted).draw(np.random.default_rng(0)).normals

    middles = np.stack([affine_of(view) for view in views]) @ [15.5, 15.5, 1.0]
    assert middles.min() > 15
    assert middles.max() < 80
    assert np.ptp(middles, axis=0).min() > 40


def test_a_share_of_the_views_is_warped(normals: np.ndarray) -> None:
    wanted = settings(crop_px=64, warp_share=0.5, batch_size=32)
    views = ViewSource(normals[:1], wanted).draw(np.random.default_rng(0)).normals

    as_is = sum(np.array_equal(view, normals[0]) for view in views)
    assert 8 <= as_is <= 24
