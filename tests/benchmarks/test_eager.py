"""The reference is as plain as it says, and gives the engine's results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.eager import TOLERANCES, EagerEvaluation, disagreement
from benchmarks.sizes import SIZES
from benchmarks.untrained import drawn_images, untrained_bundle
from stages.bundle import Bundle
from stages.device import Precision
from stages.inspector import Inspection, Inspector
from stages.model_profiles import PAPER, ModelProfile
from stages.reconstruction.paradigms import DiffusionSettings

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE_PX = 64


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return untrained_bundle(SIZES["tiny"], SIDE_PX, tmp_path_factory.mktemp("tiny") / "bundle")


def paper_in_small() -> ModelProfile:
    """The published networks, predicting noise, with hardly any channels."""
    unet = replace(PAPER.unet, width=8, groups=4, multipliers=(1, 2), attention_levels=(1,))
    segmentation = replace(PAPER.segmentation, widths=(8, 8, 16))
    return replace(PAPER, unet=unet, segmentation=segmentation)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["tiny", "paper in small", "evened exposure"])
def test_engine_and_reference_agree(
    bundle: Bundle, kind: str, precision: Precision, tmp_path: Path
) -> None:
    if kind == "paper in small":
        bundle = untrained_bundle(paper_in_small(), SIDE_PX, tmp_path / "bundle")
    elif kind == "evened exposure":
        manifest = bundle.manifest.model_copy(update={"exposure_level": 110.0})
        bundle = replace(bundle, manifest=manifest)
    images = drawn_images(bundle, 3)
    reference = EagerEvaluation(bundle, "cpu").inspect(images)
    found = Inspector(bundle, "cpu", precision).inspect(images)
    assert [part.shape for part in found] == [part.shape for part in reference]
    assert [part.dtype for part in found] == [part.dtype for part in reference]
    assert disagreement(found, reference).largest <= TOLERANCES[precision]


@pytest.mark.parametrize("change", ["noise_seed", "t_big", "w"])
def test_other_inspections_do_not_agree(bundle: Bundle, change: str) -> None:
    manifest = bundle.manifest
    if change == "noise_seed":
        other = manifest.model_copy(update={"noise_seed": manifest.noise_seed + 1})
    else:
        settings: DiffusionSettings = manifest.profile.diffusion
        changed: dict[str, Any] = {"t_big": 700} if change == "t_big" else {"w": 0.5}
        profile = replace(manifest.profile, diffusion=replace(settings, **changed))
        other = manifest.model_copy(update={"profile": profile})
    images = drawn_images(bundle, 2)
    reference = EagerEvaluation(bundle, "cpu").inspect(images)
    found = Inspector(replace(bundle, manifest=other), "cpu", "float32").inspect(images)
    assert disagreement(found, reference).largest > max(TOLERANCES.values())


def test_scales_and_images_pass_one_after_another(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[tuple[int, int]] = []
    plain: list[bool] = []
    unet, segmentation = bundle.networks()

    def note(_module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        x_t, t = inputs
        passes.append((len(x_t), int(t[0])))
        plain.append(x_t.is_contiguous() and x_t.dtype == torch.float32)

    unet.register_forward_pre_hook(note)
    monkeypatch.setattr(Bundle, "networks", lambda _bundle: (unet, segmentation))
    EagerEvaluation(bundle, "cpu").inspect(drawn_images(bundle, 3))
    settings = bundle.manifest.profile.diffusion
    assert passes == [(1, settings.t_small), (1, settings.t_big)] * 3
    assert all(plain)
    assert all(w.is_contiguous() and w.dtype == torch.float32 for w in unet.parameters())


def test_a_disagreement_is_the_mean_of_each_kind() -> None:
    zeros = Inspection(
        np.zeros(2, np.float32),
        np.zeros((2, 4, 4), np.float16),
        np.zeros((2, 4, 4, 1), np.float16),
    )
    other = Inspection(zeros.scores + 0.5, zeros.anomaly_maps.copy(), zeros.reconstructions.copy())
    other.anomaly_maps[0] = 0.25
    other.reconstructions[0, 0, 0] = -1
    found = disagreement(other, zeros)
    assert (found.score, found.anomaly_map, found.reconstruction) == (0.5, 0.125, 1 / 32)
    assert found.largest == 0.5
    other.scores[1] = np.nan
    assert np.isnan(disagreement(other, zeros).largest)
