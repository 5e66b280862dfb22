from __future__ import annotations

import numpy as np
import pytest
import torch

from training.synthesis import VISIBLE_LEVELS, AnomalyKind, Synthesizer, visible_change


def textured(side: int = 128, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(11)
    grain = 120 + 12 * rng.standard_normal((side, side, channels))
    return np.clip(grain, 0, 255).astype(np.uint8)


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


@pytest.mark.parametrize("kind", list(AnomalyKind))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_paints_something_visible(kind: AnomalyKind, channels: int) -> None:
    image = textured(channels=channels).astype(np.float32)
    synthesizer = Synthesizer((kind,))
    changed = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        painted = synthesizer.paint_kind(image, np.ones((128, 128), np.float32), kind, rng)
        changed += visible_change(painted, image).sum() >= 5

    assert changed >= 8


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
