"""What must hold on a GPU; skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.bundle import load_bundle, save_bundle
from stages.inspector import Inspector
from surfaces import random_surface

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device; see docs/gpu-checklist.md"
)


@pytest.fixture(params=["networks alone", "with a surface model"])
def bundle(make_bundle, request):
    plain = make_bundle()
    if request.param == "networks alone":
        return load_bundle(plain.folder)
    surface = random_surface(plain.manifest.channels, plain.manifest.image_size_px, slope=0.05)
    return save_bundle(plain.folder, plain.manifest, *plain.networks(), surface)


def images(bundle) -> np.ndarray:
    shape = (5, *bundle.manifest.image_size_px, bundle.manifest.channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_float32_scores_agree_with_the_cpu(bundle):
    batch = images(bundle)

    on_gpu = Inspector(bundle, "cuda:0", "float32").inspect(batch)
    on_cpu = Inspector(bundle, "cpu", "float32").inspect(batch)

    np.testing.assert_allclose(on_gpu.scores, on_cpu.scores, rtol=1e-3, atol=1e-5)


def test_a_frame_scores_the_same_alone_and_in_a_batch(bundle):
    batch = images(bundle)
    inspector = Inspector(bundle, "cuda:0")

    together = inspector.inspect(batch).scores
    alone = np.concatenate([inspector.inspect(batch[i : i + 1]).scores for i in range(len(batch))])

    np.testing.assert_allclose(alone, together, rtol=1e-2, atol=1e-4)
