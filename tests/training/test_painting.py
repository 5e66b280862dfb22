from __future__ import annotations

import numpy as np
import pytest
import torch

from training.augment import ViewSource
from training.painting import Order, Painter
from training.randomness import Randomness, Use
from training.settings import TrainingSettings
from training.synthesis import Batch, Synthesizer


class Fragile(Synthesizer):
    """A synthesizer that fails once it is broken."""

    broken = False

    def batch(self, *arguments: object, **options: object) -> Batch:
        if self.broken:
            raise ZeroDivisionError("a fault while painting")
        return super().batch(*arguments, **options)  # type: ignore[arg-type]


def painter_of(normals: np.ndarray, ahead: bool = False, rank: int = 0) -> Painter:
    settings = TrainingSettings(steps=10, crop_px=32)
    return Painter(ViewSource(normals, settings), Fragile(), Randomness(3, rank), ahead)


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.masks, other.masks)


ORDERS = [
    *(Order(Use.BATCH, number, painted=0) for number in range(3)),
    Order(Use.POOL, 0, whole=4, painted=3),
    *(Order(Use.BATCH, number) for number in range(3, 5)),  # not what was expected next
    Order(Use.POOL, 1, whole=4, painted=3),
    Order(Use.BATCH, 9),
    Order(Use.BATCH, 0, painted=0),
]


def test_painting_ahead_changes_nothing(normals: np.ndarray) -> None:
    now, ahead = painter_of(normals), painter_of(normals, ahead=True)

    for order in ORDERS:
        assert same(now.paint(order), ahead.paint(order))


def test_an_order_is_painted_the_same_whatever_came_before(normals: np.ndarray) -> None:
    first, second = painter_of(normals), painter_of(normals)
    batches = [first.paint(order) for order in ORDERS]

    assert all(map(same, reversed(batches), [second.paint(order) for order in reversed(ORDERS)]))
    assert same(batches[0], batches[-1])
    assert not same(batches[0], batches[1])


def test_an_order_says_how_many_images_are_whole_and_painted(normals: np.ndarray) -> None:
    batch = painter_of(normals).paint(Order(Use.POOL, 0, whole=4, painted=3))

    assert batch.images.shape == (4, 1, 64, 64)
    assert batch.labels[0] == 0.0
    assert batch.labels.sum() >= 2.0


def test_processes_paint_different_images(normals: np.ndarray) -> None:
    order = Order(Use.BATCH, 0)

    assert not same(painter_of(normals).paint(order), painter_of(normals, rank=1).paint(order))


@pytest.mark.parametrize("ahead", [False, True])
def test_a_fault_while_painting_reaches_the_caller(normals: np.ndarray, ahead: bool) -> None:
    settings, synthesizer = TrainingSettings(steps=10, crop_px=32), Fragile()
    painter = Painter(ViewSource(normals, settings), synthesizer, Randomness(0), ahead)
    synthesizer.broken = True

    with pytest.raises(ZeroDivisionError, match="while painting"):
        painter.paint(Order(Use.BATCH, 0))
