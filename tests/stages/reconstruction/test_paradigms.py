import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from stages.reconstruction.diffusion import predict_x_0, q_sample
from stages.reconstruction.guidance import guided_eps
from stages.reconstruction.paradigms import (
    PARADIGMS,
    DiffusionSettings,
    local_mean,
    noise_model,
    norm_guided,
    one_step,
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
def noise() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def test_both_scales_take_one_pass(images: Tensor, noise: Tensor) -> None:
    model = Elementwise()
    norm_guided(model, SCHEDULE, images, noise, SETTINGS)
    assert model.calls == [[200, 200, 400, 400]]


def test_norm_guided_equals_the_papers_equations(images: Tensor, noise: Tensor) -> None:
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


def test_without_weight_norm_guided_is_one_step(images: Tensor, noise: Tensor) -> None:
    unguided = DiffusionSettings(w=0)
    expected = one_step(Elementwise(), SCHEDULE, images, noise, unguided)
    assert torch.equal(norm_guided(Elementwise(), SCHEDULE, images, noise, unguided), expected)
    guided = norm_guided(Elementwise(), SCHEDULE, images, noise, SETTINGS)
    assert not torch.allclose(guided, expected)


@pytest.mark.parametrize("name", sorted(PARADIGMS))
def test_a_perfect_model_returns_the_image(name: str, images: Tensor, noise: Tensor) -> None:
    def knows_the_noise(x_t: Tensor, t: Tensor) -> Tensor:
        alpha_bar = SCHEDULE.alpha_bar(t)
        clean = images.repeat(len(x_t) // len(images), 1, 1, 1)
        return (x_t - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()

    found = PARADIGMS[name](knows_the_noise, SCHEDULE, images, noise, SETTINGS)
    torch.testing.assert_close(found, images, rtol=0, atol=5e-6)


@pytest.mark.parametrize("name", sorted(PARADIGMS))
def test_the_result_stays_in_the_image_range(name: str, images: Tensor, noise: Tensor) -> None:
    found = PARADIGMS[name](lambda x, _: -9 * x, SCHEDULE, images, noise, SETTINGS)
    assert found.min().item() == -1
    assert found.max().item() == 1


@pytest.mark.parametrize(
    "wrong", [{"t_small": 301}, {"t_big": 300}, {"t_big": 1000}, {"w": -1}, {"schedule": "x"}]
)
def test_settings_that_do_not_fit_together_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DiffusionSettings(**wrong)


IMAGE_SETTINGS = DiffusionSettings(predicts="image")


def test_a_network_that_predicts_noise_is_taken_as_it_is() -> None:
    network = Elementwise()
    assert noise_model(network, SCHEDULE, SETTINGS) is network


def test_a_network_that_predicts_the_image_adds_to_the_local_mean(noise: Tensor) -> None:
    clean = torch.full((2, 3, 8, 8), 0.3)
    t, detail = torch.tensor([200, 400]), torch.linspace(-0.1, 0.1, 8)
    alpha_bar = SCHEDULE.alpha_bar(t)
    x_t = q_sample(clean, noise, alpha_bar)
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
