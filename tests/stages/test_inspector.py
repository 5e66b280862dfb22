from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError
from stages.bundle import Bundle, save_bundle
from stages.device import compute_dtype
from stages.inspector import Inspector
from stages.model_profiles import COMPACT
from stages.reconstruction.engine import Reconstructor
from stages.segmentation.engine import Segmenter
from surfaces import random_surface

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


def test_a_model_with_an_exposure_level_scores_a_part_alike_at_every_exposure(
    make_bundle: Callable[..., Bundle],
) -> None:
    rng = np.random.default_rng(6)
    part = rng.integers(60, 120, (1, 128, 128, 3)).astype(np.uint8)
    both = np.concatenate([part, 2 * part])
    evened = Inspector(
        make_bundle(COMPACT, image_size_px=(128, 128), exposure_level=110.0), "cpu", "float32"
    ).inspect(both)
    as_is = Inspector(make_bundle(COMPACT, image_size_px=(128, 128)), "cpu", "float32").inspect(
        both
    )

    def apart(reconstructions: np.ndarray) -> float:
        dark, light = (picture.astype(np.float32) + 1 for picture in reconstructions)
        within = light < 1.99  # what is lighter is cut off
        return float(np.abs(2 * dark[within] - light[within]).max())

    assert evened.scores[0] == pytest.approx(evened.scores[1], rel=0.01)  # float16 between both
    assert apart(evened.reconstructions) < 0.01
    assert apart(as_is.reconstructions) > 0.1


@native_bfloat16
def test_neither_batch_size_nor_threads_move_a_bfloat16_score(
    bundle: Bundle, threads: Callable[[int], None]
) -> None:
    inspector = Inspector(bundle, "cpu", "bfloat16")
    expected = inspector.inspect(IMAGES).scores
    for count in (1, 2, 3):
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


@pytest.fixture(scope="module")
def by_openvino() -> str:
    pytest.importorskip("openvino", reason="needs the package openvino, which is optional")
    return "openvino"


@native_bfloat16
def test_a_surface_is_compared_in_full_precision_by_openvino_too(
    make_bundle: Callable[..., Bundle], by_openvino: str
) -> None:
    plain = make_bundle(COMPACT, image_size_px=(128, 128))
    surface = random_surface(3, (128, 128), slope=4.0, offset=-8.0)
    bundle = save_bundle(plain.folder, plain.manifest, *plain.networks(), surface)
    faint = 110 + IMAGES // 64
    expected = Inspector(bundle, "cpu", "float32").inspect(faint).scores
    for device in ("cpu", by_openvino):
        found = Inspector(bundle, device, "bfloat16").inspect(faint).scores
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("level", [None, 110.0])
def test_openvino_gives_the_scores_of_pytorch(
    make_bundle: Callable[..., Bundle], by_openvino: str, level: float | None
) -> None:
    bundle = make_bundle(COMPACT, image_size_px=(128, 128), exposure_level=level)
    expected = Inspector(bundle, "cpu", "float32").inspect(IMAGES)
    found = Inspector(bundle, by_openvino, "float32").inspect(IMAGES)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=5e-6)
    np.testing.assert_allclose(found.anomaly_maps, expected.anomaly_maps, rtol=0, atol=1e-3)
    assert np.abs(found.reconstructions - expected.reconstructions).mean() < 1e-4


@native_bfloat16
def test_neither_batch_size_nor_threads_move_a_score_of_openvino(
    bundle: Bundle, by_openvino: str, threads: Callable[[int], None]
) -> None:
    inspector = Inspector(bundle, by_openvino, "bfloat16")
    expected = inspector.inspect(IMAGES).scores
    exact = Inspector(bundle, "cpu", "float32").inspect(IMAGES).scores
    np.testing.assert_allclose(expected, exact, rtol=0, atol=0.05)
    for count in (1, 2):
        threads(count)
        for size in (1, 3):
            np.testing.assert_array_equal(scores_in_batches(inspector, size), expected)


def test_openvino_refuses_a_paradigm_that_draws_noise_at_each_step(
    bundle: Bundle, by_openvino: str
) -> None:
    with pytest.raises(ConfigError, match=r"draws noise .* use device cpu"):
        Inspector(bundle, by_openvino, paradigm="iterative")
