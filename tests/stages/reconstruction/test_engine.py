from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import BundleError, ConfigError, InputError
from stages.bundle import Bundle
from stages.model_profiles import ModelProfile
from stages.reconstruction.engine import Reconstructor
from stages.reconstruction.noise import NoiseFields
from stages.reconstruction.paradigms import PARADIGMS, DiffusionSettings

IMAGES = np.random.default_rng(4).integers(0, 256, (3, 64, 32, 3), dtype=np.uint8)


SHORT = DiffusionSettings(steps=30, t_small=4, tau=6, t_big=8, ddim_steps=4, ddim_eta=0.5)
"""The way down in few passes, with noise at each step."""


@pytest.fixture
def bundle(make_bundle: Callable[..., Bundle], tiny: ModelProfile) -> Bundle:
    return make_bundle(replace(tiny, diffusion=SHORT))


@pytest.mark.parametrize("name", [None, *PARADIGMS])
def test_it_computes_the_paradigm_that_is_asked_for(bundle: Bundle, name: str | None) -> None:
    unet, _ = bundle.networks()
    x_0 = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 127.5 - 1
    noise = NoiseFields(11, (64, 32, 3))
    with torch.no_grad():
        paradigm = PARADIGMS[name or "norm_guided"]
        oracle = paradigm(unet, SHORT.make_schedule(), x_0, noise, SHORT)
    reconstructor = Reconstructor(bundle, "cpu", "float32", name)
    assert reconstructor.paradigm == (name or "norm_guided")
    found = reconstructor.reconstruct(IMAGES)
    assert found.dtype == np.float16
    assert found.shape == IMAGES.shape
    np.testing.assert_allclose(found, oracle.permute(0, 2, 3, 1).numpy(), rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", PARADIGMS)
def test_neither_run_nor_batch_changes_a_reconstruction(
    bundle: Bundle, name: str, threads: Callable[[int], None]
) -> None:
    threads(1)
    first, second = (Reconstructor(bundle, "cpu", "float32", name) for _ in range(2))
    together = first.reconstruct(IMAGES)
    np.testing.assert_array_equal(second.reconstruct(IMAGES), together)
    alone = np.concatenate([second.reconstruct(IMAGES[i : i + 1]) for i in range(len(IMAGES))])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-3)


def test_a_read_only_or_strided_batch_is_taken(make_bundle: Callable[..., Bundle]) -> None:
    reconstructor = Reconstructor(make_bundle(), "cpu")
    expected = reconstructor.reconstruct(IMAGES)
    frozen = np.frombuffer(IMAGES.tobytes(), np.uint8).reshape(IMAGES.shape)
    np.testing.assert_array_equal(reconstructor.reconstruct(frozen), expected)
    mirrored = np.ascontiguousarray(IMAGES[:, :, ::-1])
    np.testing.assert_array_equal(reconstructor.reconstruct(mirrored[:, :, ::-1]), expected)


@pytest.mark.parametrize(
    "wrong",
    [
        IMAGES[0],
        IMAGES[:0],
        IMAGES[:, :32],
        IMAGES[..., :1],
        IMAGES.astype(np.uint16),
        IMAGES.astype(np.float32),
    ],
)
def test_wrong_images_are_refused(make_bundle: Callable[..., Bundle], wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"\(B, 64, 32, 3\) of uint8"):
        Reconstructor(make_bundle(), "cpu").reconstruct(wrong)


def test_an_unknown_paradigm_is_refused(make_bundle: Callable[..., Bundle]) -> None:
    with pytest.raises(BundleError, match="teleport"):
        Reconstructor(make_bundle(paradigm="teleport"), "cpu")
    with pytest.raises(ConfigError, match=r"teleport.*norm_guided.*iterative"):
        Reconstructor(make_bundle(), "cpu", paradigm="teleport")
    assert (
        Reconstructor(make_bundle(paradigm="teleport"), "cpu", paradigm="ddim").paradigm == "ddim"
    )
