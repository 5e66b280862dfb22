"""Guidance towards a target image: equation (7), and the same as a blend of two estimates.

`agreeing_blend` is not in the papers: guidance that is strong only where it is needed. Shapes as in
`stages.reconstruction.diffusion`: images (B, C, H, W), `alpha_bar_t` (B, 1, 1, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name that every torch program uses

AGREEMENT_PX = 7
"""Side of the window in which two estimates are compared; odd."""
USUAL_FACTOR = 3.0
"""Two estimates agree up to so many times the deviation that is usual in the image."""
GREY_LEVEL = 2 / 255
"""One of 256 in [-1, 1]: less than this is neither difference nor detail."""


def guided_eps(eps: Tensor, x_t: Tensor, target_t: Tensor, alpha_bar_t: Tensor, w: float) -> Tensor:
    """Image guidance (7): eps_hat = eps - sqrt(1 - alpha_bar_t) w (target_t - x_t).

    `target_t` is the target noised to t with the predicted noise `eps`, not with fresh noise.
    """
    return eps - (1 - alpha_bar_t).sqrt() * w * (target_t - x_t)


def norm_guided_blend(x_fine: Tensor, n: Tensor, alpha_bar_ts: Tensor, w: float) -> Tensor:
    """Guided estimate (7) + (8) in one step: x_0_hat = x_fine + w (1 - alpha_bar_ts) (n - x_fine).

    `x_fine` is the one-step estimate from the small noise scale t_s, `n` the one from the big.
    """
    return x_fine + w * (1 - alpha_bar_ts) * (n - x_fine)


def agreeing_blend(x_fine: Tensor, n: Tensor) -> Tensor:
    """`x_fine` where it and the coarser estimate `n` agree, `n` where they differ; not published.

    A coarse estimate blurs normal detail: over a normal part the mean square of x_fine - n goes
    with the local variance of n. An anomaly stands out, since the fine estimate keeps it while `n`,
    which does not, varies there as a normal part does. Up to USUAL_FACTOR² times the usual ratio
    the result is `x_fine`; beyond, its weight falls as the ratio rises. Usual is the median over
    those places that have detail: most of them must be normal.
    """
    difference = window_mean_square(x_fine - n) + GREY_LEVEL**2  # (B, 1, H, W)
    detail = window_mean_square(n - window_mean(n))
    average = detail.mean(dim=(2, 3), keepdim=True)
    ratio = difference / (detail + average + GREY_LEVEL**2)
    telling = torch.where(detail >= average / 2, ratio, torch.nan)
    usual = telling.flatten(1).nanmedian(dim=1).values[:, None, None, None]
    return torch.lerp(n, x_fine, (USUAL_FACTOR**2 * usual / ratio).clamp(max=1))


def window_mean_square(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, H, W): mean square over the channels and the window."""
    return window_mean(x.square().mean(dim=1, keepdim=True))


def window_mean(x: Tensor) -> Tensor:
    """(B, C, H, W), each pixel the mean of the window around it that lies in the image."""
    side = AGREEMENT_PX
    return F.avg_pool2d(x, side, stride=1, padding=side // 2, count_include_pad=False)
