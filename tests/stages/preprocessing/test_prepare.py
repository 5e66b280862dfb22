"""Preparation: what is refused and why, and that pixels, colours and proportions are right."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.config import Frame, Region
from pipeline.errors import FrameError
from pipeline.messages import Reason
from stages.preprocessing.prepare import (
    check_frame,
    preparation_settings,
    prepare,
    view_of_refused,
)


def frame(**changes: Any) -> Frame:
    settings: dict[str, Any] = {
        "colour": "grey",
        "bit_depth": 8,
        "size_px": "any",
        "input_px": (64, 96),
    }
    return Frame(**(settings | changes))


def picture(height: int = 120, width: int = 180, channels: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(5).integers(20, 220, shape, dtype=np.uint8)


def reason(image: np.ndarray, **changes: Any) -> Reason:
    with pytest.raises(FrameError) as caught:
        prepare(image, frame(**changes), 512)
    assert str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("colour", ["grey", "rgb"])
@pytest.mark.parametrize("channels", [0, 1, 3, 4])
@pytest.mark.parametrize("bit_depth", [8, 10, 16])
def test_any_frame_becomes_the_networks_input(colour: str, channels: int, bit_depth: int) -> None:
    image = picture(channels=channels)
    if bit_depth > 8:
        image = image.astype(np.uint16) << (bit_depth - 8)
    prepared = prepare(image, frame(colour=colour, bit_depth=bit_depth), 90)
    expected = 1 if colour == "grey" else 3
    assert prepared.image.shape == (64, 96, expected)
    assert prepared.view.shape == (60, 90, expected)
    for pixels in (prepared.image, prepared.view):
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous


def test_blue_green_red_becomes_red_green_blue_and_alpha_goes() -> None:
    image = np.zeros((64, 96, 4), np.uint8)
    image[:] = (10, 20, 200, 77)
    prepared = prepare(image, frame(colour="rgb"), 512)
    assert (prepared.image == (200, 20, 10)).all()
    assert (prepared.view == (200, 20, 10)).all()


def test_colour_on_a_grey_line_is_weighted_by_luminance() -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[:] = (10, 20, 200)
    prepared = prepare(image, frame(), 512)
    assert (prepared.image == round(0.114 * 10 + 0.587 * 20 + 0.299 * 200)).all()


def test_a_frame_of_the_right_size_passes_unchanged() -> None:
    image = picture(64, 96)
    prepared = prepare(image, frame(), 512)
    assert np.array_equal(prepared.image[:, :, 0], image)
    assert np.array_equal(prepared.view[:, :, 0], image)


@pytest.mark.parametrize(("bit_depth", "full"), [(10, 1023), (12, 4095), (16, 65535)])
def test_deep_frames_are_scaled_by_the_configured_depth(bit_depth: int, full: int) -> None:
    ramp = np.linspace(0, full, 64 * 96).astype(np.uint16).reshape(64, 96)
    prepared = prepare(ramp, frame(bit_depth=bit_depth), 512)
    exact = ramp / full * 255
    assert np.abs(prepared.image[:, :, 0] - exact).max() <= 0.501
    assert prepared.image.max() == 255


def test_the_region_is_cut_out_before_scaling() -> None:
    image = picture(200, 300)
    image[50:114, 100:196] = picture(64, 96)
    region = Region(x=100, y=50, width=96, height=64)
    prepared = prepare(image, frame(region=region), 512)
    assert np.array_equal(prepared.image[:, :, 0], picture(64, 96))
    assert prepared.view.shape == (64, 96, 1)


def test_shrinking_averages_areas_also_where_the_other_side_grows() -> None:
    stripes = np.zeros((32, 384), np.uint8)
    stripes[:, ::2] = 200
    prepared = prepare(stripes, frame(), 512)
    assert np.abs(prepared.image.astype(int) - 100).max() <= 1


def test_growing_interpolates_between_pixels() -> None:
    image = cv2.resize(np.array([[0, 240]], np.uint8), (48, 32), interpolation=cv2.INTER_LINEAR)
    prepared = prepare(image, frame(), 512)
    steps = np.diff(prepared.image[32, :, 0].astype(int))
    assert steps.min() >= 0
    assert steps.max() < 20


@pytest.mark.parametrize(
    ("height", "width", "view"), [(100, 400, (25, 100)), (400, 100, (100, 25)), (40, 50, (40, 50))]
)
def test_the_view_keeps_its_proportions_and_is_never_enlarged(
    height: int, width: int, view: tuple[int, int]
) -> None:
    assert prepare(picture(height, width), frame(), 100).view.shape[:2] == view


def test_the_same_frame_gives_the_same_bytes_and_is_not_touched() -> None:
    image = picture(channels=3)
    before = image.copy()
    first, second = (prepare(image, frame(), 90) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.view.tobytes() == second.view.tobytes()
    assert np.array_equal(image, before)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (0, 0), (15, 400), (400, 15), (0, 5, 3)])
def test_one_pixel_and_other_slivers_are_refused(shape: tuple[int, ...]) -> None:
    assert reason(np.full(shape, 90, np.uint8)) == Reason.FRAME_SIZE


def test_a_hundred_megapixels_are_refused() -> None:
    huge = np.broadcast_to(np.uint8(90), (10_000, 10_000))
    assert reason(huge) == Reason.FRAME_SIZE


def test_another_size_than_the_lines_is_refused() -> None:
    assert reason(picture(120, 180), size_px=(180, 120)) == Reason.FRAME_SIZE
    assert prepare(picture(120, 180), frame(size_px=(120, 180)), 90).image.shape == (64, 96, 1)


def test_a_frame_that_does_not_hold_the_region_is_refused() -> None:
    region = Region(x=100, y=0, width=81, height=64)
    assert reason(picture(120, 180), region=region) == Reason.FRAME_SIZE
    assert reason(picture(63, 200), region=region) == Reason.FRAME_SIZE


@pytest.mark.parametrize("shape", [(64,), (64, 96, 2), (64, 96, 5), (2, 64, 96, 3), ()])
def test_other_channels_are_refused(shape: tuple[int, ...]) -> None:
    assert reason(np.full(shape, 90, np.uint8)) == Reason.FRAME_DEPTH


@pytest.mark.parametrize(
    ("dtype", "bit_depth"),
    [(np.uint16, 8), (np.uint8, 12), (np.uint8, 16), (np.float32, 8), (np.int16, 16), (bool, 8)],
)
def test_another_depth_than_the_lines_is_refused(dtype: type, bit_depth: int) -> None:
    assert reason(picture().astype(dtype), bit_depth=bit_depth) == Reason.FRAME_DEPTH


def test_a_sample_beyond_the_configured_depth_is_refused() -> None:
    image = picture().astype(np.uint16) * 16
    image[3, 4] = 4095
    assert prepare(image, frame(bit_depth=12), 90).image.shape == (64, 96, 1)
    image[3, 4] = 4096
    assert reason(image, bit_depth=12) == Reason.FRAME_DEPTH


def test_a_black_frame_is_one_whose_99th_percentile_is_dark() -> None:
    image = np.full((100, 100), 3, np.uint8)
    assert reason(image) == Reason.FRAME_BLACK
    image.flat[:100] = 200  # exactly 99 % stay dark
    assert reason(image) == Reason.FRAME_BLACK
    image.flat[:101] = 200
    assert prepare(image, frame(), 90).view.max() > 3


def test_black_is_judged_on_the_scale_of_8_bits() -> None:
    assert reason(np.full((100, 100), 63, np.uint16), bit_depth=12) == Reason.FRAME_BLACK
    lit = prepare(np.full((100, 100), 65, np.uint16), frame(bit_depth=12), 90)
    assert (lit.image == 4).all()


def test_a_part_of_one_pure_colour_is_neither_black_nor_saturated() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, :, 2] = 255
    assert (prepare(image, frame(colour="rgb"), 90).image == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("level", "other", "limit", "refused"),
    [(3, 200, 0.99, Reason.FRAME_BLACK), (255, 200, 0.9, Reason.FRAME_SATURATED)],
)
def test_one_channel_of_a_pixel_that_is_not_extreme_makes_the_pixel_not_extreme(
    level: int, other: int, limit: float, refused: Reason
) -> None:
    """So the share of the pixels settles it, also where that of the samples is far beyond it."""
    image = np.full((100, 100, 3), level, np.uint8)
    few = round(1e4 * (1 - limit))
    image.reshape(-1, 3)[: few - 1, 1] = other
    assert reason(image, colour="rgb") == refused
    image.reshape(-1, 3)[: few + 1, 1] = other
    assert prepare(image, frame(colour="rgb"), 90).view.shape == (90, 90, 3)


@pytest.mark.parametrize(
    ("dtype", "bit_depth", "full"), [(np.uint8, 8, 255), (np.uint16, 12, 4095)]
)
def test_a_saturated_frame_has_too_many_pixels_at_full_scale(
    dtype: type, bit_depth: int, full: int
) -> None:
    image = np.full((100, 100), full, dtype)
    image.flat[:1000] = full // 2  # exactly saturated_above of the pixels are at full scale
    assert prepare(image, frame(bit_depth=bit_depth), 90).image.shape == (64, 96, 1)
    image.flat[999] = full
    assert reason(image, bit_depth=bit_depth) == Reason.FRAME_SATURATED


def test_no_level_is_too_dark_where_black_below_is_zero() -> None:
    prepared = prepare(np.zeros((100, 100, 4), np.uint8), frame(black_below=0.0), 90)
    assert not prepared.image.any()


def test_a_frame_can_be_checked_without_its_light() -> None:
    check_frame(np.zeros((100, 100), np.uint8), frame())
    for image in (picture(15, 400), picture(channels=2), picture().astype(np.uint16)):
        with pytest.raises(FrameError) as prepared:
            prepare(image, frame(), 90)
        with pytest.raises(FrameError) as checked:
            check_frame(image, frame())
        assert (checked.value.reason, str(checked.value)) == (
            prepared.value.reason,
            str(prepared.value),
        )


def test_light_is_judged_within_the_region() -> None:
    image = picture(200, 300)
    image[:64, :96] = 0
    region = Region(x=0, y=0, width=96, height=64)
    assert reason(image, region=region) == Reason.FRAME_BLACK


def test_the_settings_name_what_decides_the_networks_input() -> None:
    region = Region(x=1, y=2, width=30, height=40)
    base = preparation_settings(frame())
    assert base == {
        "version": 1,
        "colour": "grey",
        "bit_depth": 8,
        "region": None,
        "input_px": [64, 96],
    }
    assert preparation_settings(frame(region=region))["region"] == [1, 2, 30, 40]
    for change in ({"colour": "rgb"}, {"bit_depth": 12}, {"input_px": (96, 64)}):
        assert preparation_settings(frame(**change)) != base
    assert preparation_settings(frame(max_megapixels=5.0, black_below=9.0)) == base


@pytest.mark.parametrize("shape", [(120, 180), (120, 180, 3), (120, 180, 5)])
def test_a_refused_frame_can_still_be_shown(shape: tuple[int, ...]) -> None:
    image = np.full(shape, 90, np.uint8)
    shown = view_of_refused(image, 100)
    assert shown.shape == (60, 90, 1)
    assert (shown == 90).all()
    assert np.array_equal(view_of_refused(image.astype(np.uint16) * 256, 100), shown)


@pytest.mark.parametrize("shape", [(), (64,), (0, 0), (2, 64, 96, 3)])
def test_what_is_no_picture_is_shown_as_nothing(shape: tuple[int, ...]) -> None:
    assert view_of_refused(np.zeros(shape, np.uint8), 100).shape == (0, 0, 1)
