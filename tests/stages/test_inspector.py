from collections.abc import Callable

import numpy as np
import pytest
import torch

from stages.bundle import Bundle
from stages.device import compute_dtype
from stages.inspector import Inspector
from stages.model_profiles import COMPACT
from stages.reconstruction.engine import Reconstructor
from stages.segmentation.engine import Segmenter

IMAGES = np.random.default_rng(4).integers(0, 256, (4, 128, 128, 3), dtype=np.uint8)
native_bfloat16 = pytest.mark.skipif(
    compute_dtype(torch.device("cpu")) != torch.bfloat16,
    reason="this processor does not compute in bfloat16",
)


@pytest.fixture
def bundle(make_bundle: Callable[..., Bundle]) -> Bundle:
    return make_bundle(COMPACT, image_size_px=(128, 128))


def scores_in_batches(inspector: Inspector, size: int) -> np.ndarray:
    batches = (IMAGES[start : start + size] for start in range(0, len(IMAGES), size))
    return np.concatenate([inspector.inspect(batch).scores for batch in batches])


def test_it_makes_the_calls_of_the_line(bundle: Bundle) -> None:
    inspection = Inspector(bundle, "cpu").inspect(IMAGES)
    reconstructions = Reconstructor(bundle, "cpu").reconstruct(IMAGES)
    scores, anomaly_maps = Segmenter(bundle, "cpu").segment(IMAGES, reconstructions)
    np.testing.assert_array_equal(inspection.reconstructions, reconstructions)
    np.testing.assert_array_equal(inspection.anomaly_maps, anomaly_maps)
    np.testing.assert_array_equal(inspection.scores, scores)
    assert len(set(scores.tolist())) == len(IMAGES)


def test_two_inspectors_agree_to_the_last_bit(bundle: Bundle) -> None:
    first, second = Inspector(bundle, "cpu"), Inspector(bundle, "cpu")
    first.warm_up((1, 4))
    np.testing.assert_array_equal(first.inspect(IMAGES).scores, second.inspect(IMAGES).scores)


@native_bfloat16
def test_neither_batch_size_nor_threads_move_a_bfloat16_score(
    bundle: Bundle, threads: Callable[[int], None]
) -> None:
    inspector = Inspector(bundle, "cpu", "bfloat16")
    expected = inspector.inspect(IMAGES).scores
    for count in (1, 3):
        threads(count)
        for size in (1, 3):
            np.testing.assert_array_equal(scores_in_batches(inspector, size), expected)


def test_batch_size_moves_a_float32_score_by_float_tolerance(bundle: Bundle) -> None:
    inspector = Inspector(bundle, "cpu", "float32")
    expected = inspector.inspect(IMAGES).scores
    np.testing.assert_allclose(scores_in_batches(inspector, 1), expected, rtol=0, atol=5e-6)


def test_precisions_agree_but_for_rounding(bundle: Bundle) -> None:
    full = Inspector(bundle, "cpu", "float32").inspect(IMAGES)
    half = Inspector(bundle, "cpu", "bfloat16").inspect(IMAGES)
    assert np.abs(full.reconstructions - half.reconstructions).mean() < 0.02
    np.testing.assert_allclose(half.scores, full.scores, rtol=0, atol=0.05)


def test_it_inspects_with_the_paradigm_that_is_asked_for(bundle: Bundle) -> None:
    own = Inspector(bundle, "cpu").inspect(IMAGES)
    named = Inspector(bundle, "cpu", paradigm="norm_guided").inspect(IMAGES)
    other = Inspector(bundle, "cpu", paradigm="one_step").inspect(IMAGES)
    np.testing.assert_array_equal(named.scores, own.scores)
    assert not np.array_equal(other.reconstructions, own.reconstructions)
