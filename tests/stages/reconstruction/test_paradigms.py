import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from stages.reconstruction.diffusion import predict_x_0, q_sample
from stages.reconstruction.guidance import guided_eps
from stages.reconstruction.paradigms import PARADIGMS, DiffusionSettings, norm_guided, one_step

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
