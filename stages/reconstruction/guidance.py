"""Guidance towards a target image: equation (7), and the same as a blend of two estimates."""

from __future__ import annotations

from torch import Tensor


def guided_eps(eps: Tensor, x_t: Tensor, target_t: Tensor, alpha_bar_t: Tensor, w: float) -> Tensor:
    """Image guidance (7): eps_hat = eps - sqrt(1 - alpha_bar_t) w (target_t - x_t).

    `target_t` is the target noised to t with the predicted noise `eps`, not with fresh noise.
    `eps`, `x_t`, `target_t` (B, C, H, W), `alpha_bar_t` (B, 1, 1, 1), all float
    -> eps_hat (B, C, H, W).
    """
    return eps - (1 - alpha_bar_t).sqrt() * w * (target_t - x_t)


def norm_guided_blend(x_fine: Tensor, n: Tensor, alpha_bar_ts: Tensor, w: float) -> Tensor:
    """Guided estimate (7) + (8) in one step: x_0_hat = x_fine + w (1 - alpha_bar_ts) (n - x_fine).

    `x_fine` is the one-step estimate from the small noise scale t_s, `n` the one from the big:
    (B, C, H, W) float each; `alpha_bar_ts` (B, 1, 1, 1) float -> x_0_hat (B, C, H, W).
    """
    return x_fine + w * (1 - alpha_bar_ts) * (n - x_fine)
