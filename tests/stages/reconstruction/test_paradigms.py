from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from pipeline.config import ParadigmName
from stages.reconstruction.diffusion import predict_x_0, q_sample
from stages.reconstruction.guidance import guided_eps
from stages.reconstruction.noise import NoiseFields
from stages.reconstruction.paradigms import (
    LARGEST_ALPHA_BAR,
    PARADIGMS,
    DiffusionSettings,
    Noise,
    ddim,
    iterative,
    local_mean,
    noise_model,
    norm_guided,
    one_step,
    scales_at_once,
)

SETTINGS = DiffusionSettings()
SCHEDULE = SETTINGS.make_schedule()


class Elementwise:
    """Predicts noise pixel by pixel, differently at each time step, and records its calls."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.calls.append(t.tolist())
        return 0.7 * x_t + 0.1 * torch.sin(t.float())[:, None, None, None]


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def noise() -> NoiseFields:
    return NoiseFields(2, (8, 8, 3))


def test_a_line_can_ask_for_every_paradigm() -> None:
    assert get_args(ParadigmName) == tuple(PARADIGMS)


def test_both_scales_take_one_pass(images: Tensor, noise: Noise) -> None:
    model = Elementwise()
    norm_guided(model, SCHEDULE, images, noise, SETTINGS)
    assert model.calls == [[200, 200, 400, 400]]


def test_norm_guided_equals_the_papers_equations(images: Tensor, noise: Noise) -> None:
    model = Elementwise()
    t_s, t_b = torch.tensor([200, 200]), torch.tensor([400, 400])
    alpha_bar_ts, alpha_bar_tb = SCHEDULE.alpha_bar(t_s), SCHEDULE.alpha_bar(t_b)
    x_tb = q_sample(images, noise[1], alpha_bar_tb)
    n = predict_x_0(x_tb, model(x_tb, t_b), alpha_bar_tb).clamp(-1, 1)
    x_ts = q_sample(images, noise[0], alpha_bar_ts)
    eps = model(x_ts, t_s)
    eps_hat = guided_eps(eps, x_ts, q_sample(n, eps, alpha_bar_ts), alpha_bar_ts, SETTINGS.w)
    oracle = predict_x_0(x_ts, eps_hat, alpha_bar_ts).clamp(-1, 1)
    found = norm_guided(model, SCHEDULE, images, noise, SETTINGS)
    torch.testing.assert_close(found, oracle, rtol=0, atol=2e-6)


def test_without_weight_norm_guided_is_one_step(images: Tensor, noise: Noise) -> None:
    unguided = DiffusionSettings(w=0)
    expected = one_step(Elementwise(), SCHEDULE, images, noise, unguided)
    assert torch.equal(norm_guided(Elementwise(), SCHEDULE, images, noise, unguided), expected)
    guided = norm_guided(Elementwise(), SCHEDULE, images, noise, SETTINGS)
    assert not torch.allclose(guided, expected)


@pytest.mark.parametrize("name", sorted(PARADIGMS))
def test_a_perfect_model_returns_the_image(name: str, images: Tensor, noise: Noise) -> None:
    def knows_the_noise(x_t: Tensor, t: Tensor) -> Tensor:
        alpha_bar = SCHEDULE.alpha_bar(t)
        clean = images.repeat(len(x_t) // len(images), 1, 1, 1)
        return (x_t - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()

    found = PARADIGMS[name](knows_the_noise, SCHEDULE, images, noise, SETTINGS)
    torch.testing.assert_close(found, images, rtol=0, atol=5e-6)


@pytest.mark.parametrize("name", sorted(PARADIGMS))
def test_the_result_stays_in_the_image_range(name: str, images: Tensor, noise: Noise) -> None:
    found = PARADIGMS[name](lambda x, _: -9 * x, SCHEDULE, images, noise, SETTINGS)
    assert found.min().item() == -1
    assert found.max().item() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"t_small": 301},
        {"t_big": 300},
        {"t_big": 1000},
        {"w": -1},
        {"schedule": "x"},
        {"ddim_steps": 0},
        {"ddim_eta": 1.1},
    ],
)
def test_settings_that_do_not_fit_together_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DiffusionSettings(**wrong)


IMAGE_SETTINGS = DiffusionSettings(predicts="image")


def test_a_network_that_predicts_noise_is_taken_as_it_is() -> None:
    network = Elementwise()
    assert noise_model(network, SCHEDULE, SETTINGS) is network


def test_a_network_that_predicts_the_image_adds_to_the_local_mean(noise: Noise) -> None:
    clean = torch.full((2, 3, 8, 8), 0.3)
    t, detail = torch.tensor([200, 400]), torch.linspace(-0.1, 0.1, 8)
    alpha_bar = SCHEDULE.alpha_bar(t)
    x_t = q_sample(clean, torch.stack((noise[0], noise[1])), alpha_bar)
    model = noise_model(lambda x, _: detail.expand_as(x), SCHEDULE, IMAGE_SETTINGS)

    found = predict_x_0(x_t, model(x_t, t), alpha_bar)

    mean = x_t.mean(dim=(2, 3), keepdim=True) / alpha_bar.sqrt()
    torch.testing.assert_close(found, mean + detail.expand_as(clean), rtol=0, atol=5e-6)


def test_the_local_mean_follows_the_image_and_forgets_its_details() -> None:
    ramp = torch.linspace(-1, 1, 128).expand(1, 1, 128, 128)
    stripes = 0.2 * torch.where(torch.arange(128) % 2 == 0, 1.0, -1.0)

    found = local_mean(ramp + stripes)[..., 16:-16]

    assert (found - ramp[..., 16:-16]).abs().max() < 0.01


@pytest.mark.parametrize("side", [4, 20, 96])
def test_the_local_mean_keeps_any_size(side: int) -> None:
    assert torch.allclose(local_mean(torch.full((1, 3, side, side + 8), 0.5)), torch.tensor(0.5))


@pytest.mark.parametrize("settings", [SETTINGS, IMAGE_SETTINGS])
@pytest.mark.parametrize("name", sorted(PARADIGMS))
def test_each_paradigm_takes_the_passes_that_it_says(
    name: str, settings: DiffusionSettings, images: Tensor, noise: Noise
) -> None:
    model = Elementwise()
    eps_theta = noise_model(model, SCHEDULE, settings)
    found = PARADIGMS[name](eps_theta, SCHEDULE, images, noise, settings)
    assert found.shape == images.shape
    assert found.dtype == torch.float32
    assert bool(found.isfinite().all())
    assert {len(t) for t in model.calls} == {len(images) * scales_at_once(name)}
    least = 0 if settings is SETTINGS else int((SCHEDULE.alpha_bars > LARGEST_ALPHA_BAR).sum())
    passes = {"ddim": 30, "iterative": 401 - least}.get(name, 1)
    assert len(model.calls) == passes
    assert min(t for call in model.calls for t in call) >= least


@pytest.mark.parametrize("name", sorted(PARADIGMS))
def test_an_image_is_reconstructed_alike_in_any_batch(
    name: str, images: Tensor, noise: Noise
) -> None:
    settings = DiffusionSettings(ddim_eta=0.5)
    both = PARADIGMS[name](Elementwise(), SCHEDULE, images, noise, settings)
    again = PARADIGMS[name](Elementwise(), SCHEDULE, images, NoiseFields(2, (8, 8, 3)), settings)
    assert torch.equal(both, again)
    for index in range(len(images)):
        one = images[index : index + 1]
        alone = PARADIGMS[name](Elementwise(), SCHEDULE, one, noise, settings)
        assert torch.equal(alone, both[index : index + 1])


MEAN, DEVIATION = 0.2, 0.1


def knows_the_product(x_t: Tensor, t: Tensor) -> Tensor:
    """The best prediction of the noise where pixels are normal with MEAN and DEVIATION: E eps."""
    alpha_bar = SCHEDULE.alpha_bar(t)
    variance = alpha_bar * DEVIATION**2 + 1 - alpha_bar
    return (1 - alpha_bar).sqrt() * (x_t - alpha_bar.sqrt() * MEAN) / variance


@pytest.fixture
def products() -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return MEAN + DEVIATION * torch.randn(2, 3, 32, 32, generator=generator)


FIELDS = NoiseFields(4, (32, 32, 3))


def test_iterative_is_equation_3_from_t_big_down(products: Tensor) -> None:
    """Oracle: the equation as it is printed, in float64, with a schedule of its own."""
    beta = np.linspace(1e-4, 2e-2, 1000)
    alpha, alpha_bar = 1 - beta, np.cumprod(1 - beta)
    x = np.sqrt(alpha_bar[400]) * products.double().numpy()
    x += np.sqrt(1 - alpha_bar[400]) * FIELDS[1].double().numpy()
    for t in range(400, -1, -1):
        variance = alpha_bar[t] * DEVIATION**2 + 1 - alpha_bar[t]
        eps = np.sqrt(1 - alpha_bar[t]) * (x - np.sqrt(alpha_bar[t]) * MEAN) / variance
        x = (x - (1 - alpha[t]) / np.sqrt(1 - alpha_bar[t]) * eps) / np.sqrt(alpha[t])
        if t > 0:
            sigma = np.sqrt((1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * beta[t])
            x += sigma * FIELDS[2 + t].double().numpy()

    found = iterative(knows_the_product, SCHEDULE, products, FIELDS, SETTINGS)

    np.testing.assert_allclose(found.numpy(), x, rtol=0, atol=1e-4)
    assert np.std(x) == pytest.approx(DEVIATION, rel=0.05)  # a sample of the product, as promised
    assert np.mean(x) == pytest.approx(MEAN, abs=0.01)


def test_ddim_approaches_the_closed_form_of_its_flow(products: Tensor) -> None:
    """Without noise the way down is an ordinary differential equation; for a normal product it
    takes x_t to the value of the same quantile of x_0."""
    alpha_bar = SCHEDULE.alpha_bar(torch.tensor([400]))
    x_t = q_sample(products, FIELDS[1], alpha_bar)
    quantile = (x_t - alpha_bar.sqrt() * MEAN) / (alpha_bar * DEVIATION**2 + 1 - alpha_bar).sqrt()
    closed = (MEAN + DEVIATION * quantile).clamp(-1, 1)

    def error(steps: int) -> float:
        settings = DiffusionSettings(ddim_steps=steps)
        found = ddim(knows_the_product, SCHEDULE, products, FIELDS, settings)
        return (found - closed).abs().max().item()

    assert error(401) < 0.02
    assert error(401) < error(30) / 2 < error(5) / 4


def test_ddim_of_one_step_is_one_step_from_there(images: Tensor, noise: Noise) -> None:
    at_once = DiffusionSettings(t_small=400, tau=400, t_big=401)
    expected = one_step(Elementwise(), SCHEDULE, images, [noise[1]], at_once)
    found = ddim(Elementwise(), SCHEDULE, images, noise, DiffusionSettings(ddim_steps=1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    many = ddim(Elementwise(), SCHEDULE, images, noise, SETTINGS)
    assert not torch.allclose(many, expected, atol=0.01)


class Drawn:
    """Noise that keeps which fields were asked for, and has only some of them."""

    def __init__(self, noise: Noise, only: set[int] | None = None) -> None:
        self.noise, self.only = noise, only
        self.asked: list[int] = []

    def __getitem__(self, index: int) -> Tensor:
        assert self.only is None or index in self.only, f"field {index} was drawn"
        self.asked.append(index)
        return self.noise[index]


def test_ddim_with_eta_0_is_deterministic_and_draws_no_further_noise(
    images: Tensor, noise: Noise
) -> None:
    """Of all noise it needs the field that brings the image to t_big; not even the generator of
    PyTorch is touched, and other fields of the same seed would change nothing.
    """
    other = NoiseFields(77, (8, 8, 3))
    mixed = [other[0], noise[1], *(other[index] for index in range(2, 403))]
    state = torch.get_rng_state()
    drawn = [Drawn(noise, {1}), Drawn(noise, {1}), Drawn(mixed)]

    first, again, elsewhere = (
        ddim(Elementwise(), SCHEDULE, images, fields, SETTINGS) for fields in drawn
    )

    assert torch.equal(first, again)
    assert torch.equal(first, elsewhere)
    assert [fields.asked for fields in drawn] == [[1]] * 3
    assert torch.equal(torch.get_rng_state(), state)


def test_ddim_with_eta_draws_a_field_for_each_step_but_the_last(
    images: Tensor, noise: Noise
) -> None:
    few = DiffusionSettings(ddim_steps=3, ddim_eta=0.5)
    model, fields = Elementwise(), Drawn(noise)

    found = ddim(model, SCHEDULE, images, fields, few)

    assert fields.asked == [1, *(2 + t[0] for t in model.calls[:-1])]
    assert len(fields.asked) == 3
    quiet = ddim(Elementwise(), SCHEDULE, images, noise, DiffusionSettings(ddim_steps=3))
    assert not torch.allclose(found, quiet, atol=0.01)


def test_ddim_of_every_step_with_eta_1_is_iterative(products: Tensor) -> None:
    settings = DiffusionSettings(ddim_steps=1000, ddim_eta=1)
    found = ddim(knows_the_product, SCHEDULE, products, FIELDS, settings)
    expected = iterative(knows_the_product, SCHEDULE, products, FIELDS, settings)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    quiet = ddim(knows_the_product, SCHEDULE, products, FIELDS, SETTINGS)
    assert not torch.allclose(quiet, expected, atol=0.01)


@pytest.mark.parametrize("name", ["ddim", "iterative"])
def test_an_image_predicting_network_leaves_no_noise_behind(name: str, noise: Noise) -> None:
    """Its answers to little noise are bounded; a way down to t = 0 would end in noise of 0.1."""
    flat = torch.full((1, 3, 8, 8), 0.3)
    model = noise_model(lambda x, _: 0.3 - local_mean(x), SCHEDULE, IMAGE_SETTINGS)
    steady = DiffusionSettings(predicts="image", t_big=301)
    found = PARADIGMS[name](model, SCHEDULE, flat, noise, steady)
    assert found.std().item() < 0.02
