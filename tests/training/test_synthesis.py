from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from training.synthesis import (
    STRONGEST_LEVELS,
    VISIBLE_LEVELS,
    AnomalyKind,
    Synthesizer,
    to_batch,
    visible_change,
)


def textured(side: int = 128, channels: int = 1, level: float = 120.0) -> np.ndarray:
    rng = np.random.default_rng(11)
    grain = level + 12 * rng.standard_normal((side, side, channels))
    return np.clip(grain, 0, 255).astype(np.uint8)


def printed(side: int = 128, channels: int = 1) -> np.ndarray:
    """A light surface with dark marks of 12 px, every 32 px."""
    image = 180 + 2 * np.random.default_rng(12).standard_normal((side, side, channels))
    for y, x in product(range(10, side, 32), repeat=2):
        image[y : y + 12, x : x + 12] = 60
    return np.round(image).astype(np.uint8)


def everywhere(images: np.ndarray) -> np.ndarray:
    return np.ones(images.shape[:3], np.float32)


def batch_of(seed: int, channels: int = 1):  # type: ignore[no-untyped-def]
    normals = np.stack([textured(channels=channels)] * 6)
    rng = np.random.default_rng(seed)
    return normals, Synthesizer().batch(normals, everywhere(normals), rng, whole=False)


@pytest.mark.parametrize("channels", [1, 3])
def test_half_of_a_batch_stays_normal_and_untouched(channels: int) -> None:
    normals, batch = batch_of(0, channels)

    assert batch.images.shape == (6, channels, 128, 128)
    assert batch.masks.shape == (6, 1, 128, 128)
    assert batch.labels.tolist() == [0, 0, 0, 1, 1, 1]
    untouched = torch.from_numpy(normals[:3].transpose(0, 3, 1, 2)).float() / 127.5 - 1
    assert torch.equal(batch.images[:3], untouched)
    assert batch.masks[:3].max() == 0


def test_images_stay_in_range_and_masks_are_binary() -> None:
    for seed in range(10):
        _, batch = batch_of(seed)
        assert batch.images.abs().max() <= 1.0
        assert set(batch.masks.unique().tolist()) <= {0.0, 1.0}


def test_the_mask_lies_only_where_the_image_changed_visibly() -> None:
    synthesizer, image = Synthesizer(), textured().astype(np.float32)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        painted, mask = synthesizer.paint(image, np.ones((128, 128), np.float32), rng, True)
        change = np.abs(painted - image).max(axis=2)
        assert (change[mask > 0] >= 1.0).all()
        assert (mask[change >= VISIBLE_LEVELS] == 1.0).all()
        assert np.array_equal(painted, np.round(painted))


def test_a_single_image_is_painted_in_half_of_its_batches() -> None:
    normals = textured()[None]

    labels = [
        Synthesizer().batch(normals, everywhere(normals), np.random.default_rng(seed), True).labels
        for seed in range(40)
    ]

    assert 10 <= torch.cat(labels).sum() <= 30


def test_as_many_images_are_painted_as_asked_for() -> None:
    normals = np.stack([textured()] * 4)
    rng = np.random.default_rng(0)

    batch = Synthesizer().batch(normals, everywhere(normals), rng, whole=True, painted=3)

    assert batch.labels.tolist() == [0, 1, 1, 1]


def test_most_of_what_gets_lighter_or_darker_keeps_its_hue() -> None:
    image = np.full((128, 128, 3), (120.0, 60.0, 30.0), np.float32)
    synthesizer, kept = Synthesizer((AnomalyKind.STAIN,)), 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        painted = synthesizer.paint_kind(
            image, np.ones((128, 128), np.float32), AnomalyKind.STAIN, rng
        )
        change = (painted - image).reshape(-1, 3)
        red, green, blue = change[np.abs(change).sum(axis=1).argmax()]
        kept += abs(green / red - 0.5) < 0.1 and abs(blue / red - 0.25) < 0.1

    assert 8 <= kept <= 45  # a hue drawn at random is kept about once in sixty


def test_the_same_seed_paints_the_same_and_another_does_not() -> None:
    first, again, other = (batch_of(seed)[1].images for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


PIECES = {AnomalyKind.DUPLICATE, AnomalyKind.MISSING}
"""Kinds that need pieces: a part of grain alone has none."""

KINDS = [kind for kind in AnomalyKind if kind not in PIECES]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_paints_something_visible(kind: AnomalyKind, channels: int) -> None:
    image = textured(channels=channels).astype(np.float32)
    synthesizer = Synthesizer((kind,))
    changed = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        painted = synthesizer.paint_kind(image, np.ones((128, 128), np.float32), kind, rng)
        changed += visible_change(painted, image).sum() >= 5

    assert changed >= 6


WARPED = {AnomalyKind.WARP}
SUBJECTS: dict[str, tuple[np.ndarray, set[AnomalyKind]]] = {
    "dark": (textured(channels=3, level=50.0), set()),
    "dark grey": (textured(level=50.0), set()),
    "light": (textured(channels=3, level=230.0), set()),
    "small": (textured(32, channels=3), set()),
    "large": (textured(512, channels=3), set()),
    "one colour": (np.full((128, 128, 3), (180, 90, 40), np.uint8), WARPED),
    "black": (np.zeros((128, 128, 3), np.uint8), WARPED),
    "white": (np.full((128, 128, 1), 255, np.uint8), WARPED),
}
"""Images, and the kinds that cannot show on them: one colour looks the same when it is moved."""

DETAIL = {AnomalyKind.WEAR}
"""Kinds that change the detail of an image: where there is none, they seldom show."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subject", list(SUBJECTS))
def test_every_kind_shows_on_images_of_every_sort(subject: str, kind: AnomalyKind) -> None:
    normal, unseen = SUBJECTS[subject]
    image, synthesizer = normal.astype(np.float32), Synthesizer((kind,))
    foreground = np.ones(image.shape[:2], np.float32)

    painted = [
        synthesizer.paint_kind(image, foreground, kind, np.random.default_rng(seed))
        for seed in range(12)
    ]

    assert all(picture.shape == image.shape for picture in painted)
    assert all(picture.min() >= 0.0 and picture.max() <= 255.0 for picture in painted)
    seen = sum(visible_change(picture, image).sum() >= 5 for picture in painted)
    least = 1 if unseen and kind in DETAIL else 8
    assert seen == 0 if kind in unseen else seen >= least


def shown(image: np.ndarray, kind: AnomalyKind) -> int:
    """How many of 24 paintings of a kind on an image show."""
    levels, foreground = image.astype(np.float32), np.ones(image.shape[:2], np.float32)
    painted = [
        Synthesizer((kind,)).paint_kind(levels, foreground, kind, np.random.default_rng(seed))
        for seed in range(24)
    ]
    return sum(int(visible_change(picture, levels).sum() >= 5) for picture in painted)


@pytest.mark.parametrize("kind", sorted(PIECES))
@pytest.mark.parametrize("subject", list(SUBJECTS))
def test_grain_and_plain_colours_have_no_pieces(subject: str, kind: AnomalyKind) -> None:
    assert shown(SUBJECTS[subject][0], kind) <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_marks_are_duplicated_and_missing(channels: int) -> None:
    image = printed(channels=channels)

    assert shown(image, AnomalyKind.DUPLICATE) >= 8
    assert shown(image, AnomalyKind.MISSING) >= 12


def test_a_piece_is_painted_in_full_whatever_its_contrast() -> None:
    """A black part on white: no other kind changes a region by so much on average."""
    image = np.full((128, 128, 1), 250.0, np.float32)
    image[24:104, 24:104] = 5.0
    foreground = np.zeros((128, 128), np.float32)
    foreground[21:107, 21:107] = 1.0
    levels: set[float] = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        painted = Synthesizer().paint_kind(image, foreground, AnomalyKind.MISSING, rng)
        levels |= set(painted[painted > image + 200].tolist())

    assert 250.0 in levels


def test_painting_leaves_the_image_as_it_was() -> None:
    synthesizer, image = Synthesizer(), textured(channels=3).astype(np.float32)
    before, foreground = image.copy(), np.ones((128, 128), np.float32)

    for seed in range(10):
        rng = np.random.default_rng(seed)
        painted, mask = synthesizer.paint(image, foreground, rng, whole=True)
        for kind in AnomalyKind:
            synthesizer.paint_kind(image, foreground, kind, rng)
        assert mask.any()
        assert not np.shares_memory(painted, image)

    assert np.array_equal(image, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_tensors_are_no_views_of_the_images(channels: int) -> None:
    images = np.stack([textured(channels=channels)] * 2).astype(np.float32)
    before = images.copy()

    batch = to_batch(images, images, np.zeros((2, 128, 128), np.float32))

    assert batch.images.is_contiguous()
    assert batch.images.max() <= 1.0
    assert np.array_equal(images, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_change_is_visible_by_itself_or_among_its_neighbours(channels: int) -> None:
    rng = np.random.default_rng(4)
    image = textured(64, channels).astype(np.float32)
    painted = image + np.round(rng.normal(0.0, 2.5, image.shape)).astype(np.float32)

    change = np.abs(painted - image).max(axis=2)
    around = np.pad(change, 1, mode="reflect")
    mean = np.mean([around[y : y + 64, x : x + 64] for y in range(3) for x in range(3)], axis=0)
    expected = (change >= 1.0) & (np.maximum(change, mean) >= VISIBLE_LEVELS)

    assert 0.05 < expected.mean() < 0.95
    clear = np.abs(mean - VISIBLE_LEVELS) > 1e-4
    assert np.array_equal(visible_change(painted, image)[clear] > 0, expected[clear])


def test_the_contrast_inside_the_region_is_the_one_that_was_drawn() -> None:
    """On one colour, by (12): S - N = (1 - beta) M (A - N), on average over M."""
    image = np.full((96, 96, 3), 120.0, np.float32)
    synthesizer, faintest = Synthesizer((AnomalyKind.PERLIN,)), 10.0
    means = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        fore = np.ones((96, 96), np.float32)
        painted = synthesizer.paint_kind(image, fore, AnomalyKind.PERLIN, rng)
        mask = visible_change(painted, image) > 0
        if mask.sum() > 30:
            means.append(np.abs(painted - image)[mask].mean())

    assert len(means) > 40
    assert max(means) <= STRONGEST_LEVELS + 0.5
    assert np.quantile(means, 0.05) > 0.5 * faintest
    assert np.median(means) == pytest.approx(np.sqrt(faintest * STRONGEST_LEVELS), rel=0.4)


def test_only_the_chosen_kinds_are_painted() -> None:
    rng = np.random.default_rng(0)
    image = textured().astype(np.float32)
    synthesizer = Synthesizer((AnomalyKind.SPECK,))

    for _ in range(10):
        _, mask = synthesizer.paint(image, np.ones((128, 128), np.float32), rng, False)
        assert mask.mean() < 0.05


def test_nothing_is_painted_on_the_background() -> None:
    normals = np.stack([textured()] * 4)
    foregrounds = np.zeros((4, 128, 128), np.float32)
    foregrounds[:, :, :64] = 1.0

    batch = Synthesizer().batch(normals, foregrounds, np.random.default_rng(3), whole=False)

    assert batch.masks[..., 64:].max() == 0
    assert batch.labels.tolist() == [0, 0, 1, 1]


def test_an_image_without_a_part_stays_normal() -> None:
    normals = np.stack([textured()] * 2)

    batch = Synthesizer().batch(
        normals, np.zeros((2, 128, 128), np.float32), np.random.default_rng(0), whole=False
    )

    assert batch.labels.tolist() == [0, 0]


def test_contrasts_reach_from_faint_to_strong() -> None:
    image = np.full((128, 128, 1), 120.0, np.float32)
    synthesizer = Synthesizer((AnomalyKind.BLOB,))
    peaks = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        painted = synthesizer.paint_kind(
            image, np.ones((128, 128), np.float32), AnomalyKind.BLOB, rng
        )
        peaks.append(np.abs(painted - image).max())

    assert min(peaks) < 20
    assert max(peaks) > 70


def test_textures_of_a_bank_are_painted() -> None:
    image = np.full((64, 64, 1), 100.0, np.float32)
    bank = np.zeros((1, 64, 64, 1), np.uint8)
    bank[:, ::2] = 255
    synthesizer = Synthesizer((AnomalyKind.PERLIN,), bank)

    def rows_differ(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        fore = np.ones((64, 64), np.float32)
        painted = synthesizer.paint_kind(image, fore, AnomalyKind.PERLIN, rng)[:, :, 0]
        inside = (visible_change(painted[:, :, None], image) > 0) & (image[:, :, 0] == 100.0)
        return (
            bool(inside.any())
            and {*(painted[::2] > 100)[inside[::2]]} == {True}
            and {*(painted[1::2] < 100)[inside[1::2]]} == {True}
        )

    assert any(rows_differ(seed) for seed in range(40))


def test_only_paintings_of_crop_kinds_may_be_cut() -> None:
    normals = np.stack([textured()] * 40)
    synthesizer, rng = Synthesizer(), np.random.default_rng(6)
    whole = synthesizer.batch(normals, everywhere(normals), rng, whole=True, painted=30)
    crops = synthesizer.batch(normals, everywhere(normals), rng, whole=False)

    assert all(whole.may_be_cut[:10])
    assert 0 < sum(whole.may_be_cut[10:]) < 30
    assert all(crops.may_be_cut)


def test_chips_lie_at_the_edge_of_the_part() -> None:
    image = textured().astype(np.float32)
    part = np.zeros((128, 128), np.float32)
    part[32:96, 32:96] = 1.0
    inside = np.zeros((128, 128), bool)
    inside[62:66, 62:66] = True
    rng = np.random.default_rng(8)
    for _ in range(30):
        painted = Synthesizer().paint_kind(image, part, AnomalyKind.CHIP, rng)
        change = np.abs(painted - image)[..., 0]
        assert change[part == 0].max() == 0
        if change.max() > 0:
            near_edge = change[32:96, 32:96].copy()
            near_edge[12:-12, 12:-12] = 0
            assert near_edge.max() > 0


def test_a_step_splits_what_it_touches_along_a_line() -> None:
    image = np.full((128, 128, 1), 120.0, np.float32)
    rng = np.random.default_rng(9)
    shares = []
    for _ in range(20):
        painted = Synthesizer((AnomalyKind.STEP,)).paint_kind(
            image, np.ones((128, 128), np.float32), AnomalyKind.STEP, rng
        )
        shares.append(float((np.abs(painted - image) > 1).mean()))
    assert max(shares) > 0.2
    assert min(shares) < 0.9
