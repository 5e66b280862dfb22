import torch

from stages.reconstruction.diffusion import (
    ancestral_mean,
    ancestral_sigma,
    ddim_mean,
    ddim_sigma,
    predict_x_0,
    q_sample,
)
from stages.reconstruction.schedule import make_schedule


def fields(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.float64) for _ in range(count)]


T = torch.tensor([0, 200, 400, 999])


def test_predict_x_0_inverts_q_sample() -> None:
    x_0, eps = fields(2)
    alpha_bar = make_schedule().alpha_bar(T).double()
    x_t = q_sample(x_0, eps, alpha_bar)
    torch.testing.assert_close(predict_x_0(x_t, eps, alpha_bar), x_0, rtol=0, atol=1e-11)


def test_q_sample_keeps_unit_variance_and_the_right_share_of_the_image() -> None:
    x_0, eps = fields(2)
    alpha_bar = torch.full((1, 1, 1, 1), 0.36, dtype=torch.float64)
    torch.testing.assert_close(q_sample(x_0, eps, alpha_bar), 0.6 * x_0 + 0.8 * eps)


def test_ancestral_mean_is_the_posterior_mean_of_the_estimate() -> None:
    """Oracle: Ho et al. (2020), equation (7), with x_0 replaced by its one-step estimate."""
    x_t, eps = fields(2)
    schedule, t = make_schedule(), torch.tensor([1, 200, 400, 999])
    beta = schedule.beta(t).double()
    before = schedule.alpha_bar(t - 1).double()
    alpha_bar = before * (1 - beta)
    x_0_hat = predict_x_0(x_t, eps, alpha_bar)
    oracle = (
        before.sqrt() * beta / (1 - alpha_bar) * x_0_hat
        + (1 - beta).sqrt() * (1 - before) / (1 - alpha_bar) * x_t
    )
    torch.testing.assert_close(ancestral_mean(x_t, eps, beta, alpha_bar), oracle)


def test_ancestral_sigma_is_zero_at_the_last_step_and_below_sqrt_beta() -> None:
    schedule, t = make_schedule(), torch.arange(1000)
    beta, alpha_bar = schedule.beta(t), schedule.alpha_bar(t)
    sigma = ancestral_sigma(beta, alpha_bar, schedule.alpha_bar(t - 1))
    assert sigma[0].item() == 0
    assert bool((sigma[1:] > 0).all())
    assert bool((sigma <= beta.sqrt()).all())


def test_a_ddim_step_without_noise_keeps_the_noise_that_was_predicted() -> None:
    """Oracle: the step is q_sample at the earlier time, of the estimate and the same noise."""
    x_0, eps = fields(2)
    schedule, t_to = make_schedule(), torch.tensor([-1, 0, 150, 999])
    alpha_bar_t = schedule.alpha_bar(torch.tensor([0, 200, 400, 999])).double()
    alpha_bar_to = schedule.alpha_bar(t_to).double()
    x_t = q_sample(x_0, eps, alpha_bar_t)
    sigma = ddim_sigma(alpha_bar_t, alpha_bar_to, 0.0)
    assert not sigma.any()
    found = ddim_mean(x_t, eps, alpha_bar_t, alpha_bar_to, sigma)
    torch.testing.assert_close(found, q_sample(x_0, eps, alpha_bar_to), rtol=0, atol=1e-11)


def test_a_ddim_step_of_one_with_eta_1_is_the_ancestral_step() -> None:
    x_t, eps = fields(2)
    schedule, t = make_schedule(), torch.tensor([1, 200, 400, 999])
    beta, before = schedule.beta(t).double(), schedule.alpha_bar(t - 1).double()
    alpha_bar = before * (1 - beta)
    sigma = ddim_sigma(alpha_bar, before, 1.0)
    torch.testing.assert_close(sigma, ancestral_sigma(beta, alpha_bar, before))
    torch.testing.assert_close(ddim_sigma(alpha_bar, before, 0.25), sigma / 4)
    mean = ancestral_mean(x_t, eps, beta, alpha_bar)
    torch.testing.assert_close(ddim_mean(x_t, eps, alpha_bar, before, sigma), mean)
