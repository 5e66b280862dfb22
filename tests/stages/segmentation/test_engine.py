from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from stages.bundle import Bundle
from stages.segmentation.engine import Segmenter

RNG = np.random.default_rng(4)
IMAGES = RNG.integers(0, 256, (3, 64, 32, 3), dtype=np.uint8)
RECONSTRUCTIONS = RNG.uniform(-1, 1, IMAGES.shape).astype(np.float16)


def test_it_computes_the_papers_score_before_rounding(make_bundle: Callable[..., Bundle]) -> None:
    bundle = make_bundle()
    _, network = bundle.networks()
    x_0 = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 127.5 - 1
    x_0_hat = torch.from_numpy(RECONSTRUCTIONS).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        maps = network(x_0, x_0_hat)[:, 0].sigmoid().numpy()
    found = Segmenter(bundle, "cpu", "float32").segment(IMAGES, RECONSTRUCTIONS)
    scores = np.sort(maps.reshape(3, -1), axis=1)[:, -50:].mean(axis=1)
    assert found.scores.dtype == np.float32
    assert found.anomaly_maps.dtype == np.float16
    assert found.anomaly_maps.shape == (3, 64, 32)
    np.testing.assert_allclose(found.scores, scores, rtol=0, atol=2e-6)
    np.testing.assert_allclose(found.anomaly_maps, maps, rtol=0, atol=1e-3)
    assert not np.array_equal(found.scores, found.scores.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "openvino", marks=pytest.mark.skipif(not find_spec("openvino"), reason="no OpenVINO")
        ),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_was_not_reconstructed_has_no_score(
    make_bundle: Callable[..., Bundle], device: str, value: float
) -> None:
    broken = RECONSTRUCTIONS.copy()
    broken[1, 20, 10, 0] = value
    segmenter = Segmenter(make_bundle(), device, "float32")
    found, whole = segmenter.segment(IMAGES, broken), segmenter.segment(IMAGES, RECONSTRUCTIONS)
    assert np.isnan(found.scores).tolist() == [False, True, False]
    np.testing.assert_array_equal(found.scores[[0, 2]], whole.scores[[0, 2]])


@pytest.mark.parametrize(
    "reconstructions",
    [RECONSTRUCTIONS[:2], RECONSTRUCTIONS.astype(np.float32), RECONSTRUCTIONS[:, :, :, :1]],
)
def test_reconstructions_that_do_not_fit_are_refused(
    make_bundle: Callable[..., Bundle], reconstructions: np.ndarray
) -> None:
    with pytest.raises(InputError, match=r"\(3, 64, 32, 3\) of float16"):
        Segmenter(make_bundle(), "cpu").segment(IMAGES, reconstructions)
