"""Whether a defect stands out more than what is worst about anything good.

(10) is a mean over pixels. An image, though, is judged by its few highest pixels, and those of a
good image are far too few to weigh in such a mean. Here a batch is judged as inspection judges
images: the highest logits of the defects of an image against the highest of all that is good, of
the same and of every other image, pair by pair. The logistic loss of the pairs, over log 2, bounds
the share of those in the wrong order, 1 - AUROC (Gao and Zhou, On the consistency of AUC pairwise
optimization, 2015). Not in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name that every torch program uses

from training.distributed import ALONE, Mean, World

HIGHEST_PX = 16
"""Pixels whose mean logit stands for the defects of an image, or for what is good of it."""
LEAST_PX = 8
"""Less of a defect, cut by the border of a crop, need not be seen."""
MARGIN_PX = 4
"""So close to a defect nothing counts as good: where its edge is, is the mask's matter."""
NEVER = -1e4
"""Below every logit, and finite."""


def ranking_loss(logits: Tensor, masks: Tensor, world: World = ALONE) -> Mean:
    """Mean of log(1 + exp(good - defects)) over all pairs of an image with something good and one
    with defects: logits and masks (B, 1, H, W) float32. 0 where there are none.

    Of several processes each compares its own defects with what is good in the images of all.
    """
    window = 2 * MARGIN_PX + 1
    good, has_good = _highest(logits, F.max_pool2d(masks, window, 1, MARGIN_PX) < 0.5, HIGHEST_PX)
    defects, has_defects = _highest(logits, masks > 0.5, LEAST_PX)
    own = torch.stack((good, has_good), dim=1)
    good, has_good = world.rows_of_all(own, world.counts(len(own))).unbind(dim=1)
    compared = has_good[:, None] * has_defects
    losses = F.softplus(good[:, None] - defects) * compared
    count = compared.sum()
    return Mean(losses.sum() / count.clamp(min=1.0), count)


def _highest(logits: Tensor, where: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """The mean of the highest logits of each image `where` it is true, (B,); and 1 for images where
    it is so at `least` pixels, 0 for others, (B,) float32.
    """
    area = where.flatten(1).sum(dim=1)
    highest = logits.masked_fill(~where, NEVER).flatten(1).topk(HIGHEST_PX, dim=1).values
    count = area.clamp(min=1, max=HIGHEST_PX)
    counted = torch.arange(HIGHEST_PX, device=logits.device) < count[:, None]
    return (highest * counted).sum(dim=1) / count, (area >= least).float()
