"""The diffusion equations, one function each, numbered as in the DiffusionAD paper.

A DDIM step is not spelt out there: it has the numbers of Song et al. (2021), arXiv 2010.02502.

`alpha_bar_*` and `beta_t` come from `Schedule.alpha_bar(t)` and `Schedule.beta(t)`; anything that
broadcasts will do. Nothing here calls a network, draws noise or clamps.
"""

from __future__ import annotations

from torch import Tensor


def q_sample(x_0: Tensor, eps: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """Forward noise (1): x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps.

    `x_0` (B, C, H, W), `eps` (B, C, H, W) or (C, H, W), `alpha_bar_t` (B, 1, 1, 1), all float
    -> x_t (B, C, H, W).
    """
    return alpha_bar_t.sqrt() * x_0 + (1 - alpha_bar_t).sqrt() * eps


def predict_x_0(x_t: Tensor, eps: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """One-step estimate (6): x_0_hat = (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t).

    `x_t`, `eps` (B, C, H, W), `alpha_bar_t` (B, 1, 1, 1), all float -> x_0_hat (B, C, H, W).
    """
    return (x_t - (1 - alpha_bar_t).sqrt() * eps) / alpha_bar_t.sqrt()


def eps_from_x_0(x_t: Tensor, x_0: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """(6) solved for the noise: eps = (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t).

    `x_t`, `x_0` (B, C, H, W), `alpha_bar_t` (B, 1, 1, 1) below 1, all float -> eps (B, C, H, W).
    """
    return (x_t - alpha_bar_t.sqrt() * x_0) / (1 - alpha_bar_t).sqrt()


def ancestral_mean(x_t: Tensor, eps: Tensor, beta_t: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """Mean of x_{t-1} (3): (x_t - beta_t / sqrt(1 - alpha_bar_t) eps) / sqrt(1 - beta_t).

    `x_t`, `eps` (B, C, H, W), `beta_t`, `alpha_bar_t` (B, 1, 1, 1), all float -> (B, C, H, W).
    """
    return (x_t - beta_t / (1 - alpha_bar_t).sqrt() * eps) / (1 - beta_t).sqrt()


def ancestral_sigma(beta_t: Tensor, alpha_bar_t: Tensor, alpha_bar_before: Tensor) -> Tensor:
    """Deviation of x_{t-1} (3): sigma_t² = (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) beta_t.

    Zero at t = 0, where `alpha_bar_before` is 1. All (B, 1, 1, 1) float, as is sigma_t.
    """
    return ((1 - alpha_bar_before) / (1 - alpha_bar_t) * beta_t).sqrt()


def ddim_sigma(alpha_bar_t: Tensor, alpha_bar_to: Tensor, eta: float) -> Tensor:
    """Deviation of a DDIM step from t to an earlier step (Song et al., 2021, (16)).

    eta sqrt((1 - alpha_bar_to) / (1 - alpha_bar_t)) sqrt(1 - alpha_bar_t / alpha_bar_to): 0 for
    `eta` 0, and that of (3) for `eta` 1 and a step of one. `alpha_bar_t` and `alpha_bar_to`
    (B, 1, 1, 1) float -> (B, 1, 1, 1).
    """
    variance = (1 - alpha_bar_to) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_to)
    return eta * variance.sqrt()


def ddim_mean(
    x_t: Tensor, eps: Tensor, alpha_bar_t: Tensor, alpha_bar_to: Tensor, sigma: Tensor
) -> Tensor:
    """Mean of a DDIM step from t to an earlier step (Song et al., 2021, (12)).

    sqrt(alpha_bar_to) x_0_hat + sqrt(1 - alpha_bar_to - sigma²) eps, with x_0_hat by (6).
    `x_t`, `eps` (B, C, H, W), `alpha_bar_t`, `alpha_bar_to`, `sigma` (B, 1, 1, 1), all float
    -> (B, C, H, W).
    """
    x_0_hat = predict_x_0(x_t, eps, alpha_bar_t)
    return alpha_bar_to.sqrt() * x_0_hat + (1 - alpha_bar_to - sigma.square()).sqrt() * eps
