from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipeline.errors import BundleError, InputError
from stages.bundle import Bundle
from stages.reconstruction.engine import Reconstructor, noise_fields
from stages.reconstruction.paradigms import norm_guided

IMAGES = np.random.default_rng(4).integers(0, 256, (3, 64, 32, 3), dtype=np.uint8)


def test_it_computes_the_bundles_paradigm(make_bundle: Callable[..., Bundle]) -> None:
    bundle = make_bundle()
    unet, _ = bundle.networks()
    settings = bundle.manifest.profile.diffusion
    x_0 = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        oracle = norm_guided(
            unet, settings.make_schedule(), x_0, noise_fields(11, (64, 32, 3)), settings
        )
    found = Reconstructor(bundle, "cpu", "float32").reconstruct(IMAGES)
    assert found.dtype == np.float16
    assert found.shape == IMAGES.shape
    np.testing.assert_allclose(found, oracle.permute(0, 2, 3, 1).numpy(), rtol=0, atol=2e-3)


def test_noise_is_fixed_by_its_seed() -> None:
    noise = noise_fields(7, (8, 16, 3))
    assert noise.shape == (2, 3, 8, 16)
    assert torch.equal(noise, noise_fields(7, (8, 16, 3)))
    assert not torch.equal(noise, noise_fields(8, (8, 16, 3)))
    assert not torch.equal(noise[0], noise[1])


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
