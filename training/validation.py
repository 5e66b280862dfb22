"""Validation on held-out normals, against the same with synthetic anomalies, never on test images.

Images go through the very path of the running line: a bundle, its fixed noise, the inspector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.errors import InputError
from stages.bundle import Bundle
from stages.inspector import Inspection, Inspector
from training.foreground import Background, foreground_mask
from training.synthesis import AnomalyKind, Synthesizer, visible_change

BATCH = 8
PER_NORMAL = 2
ATTEMPTS = 8


@dataclass(frozen=True)
class Figures:
    """Image AUROC and AP, pixel AP, and the image AUROC of each kind of anomaly; all in [0, 1]."""

    image_auroc: float
    image_ap: float
    pixel_ap: float
    auroc_of_kind: dict[str, float]

    @property
    def merit(self) -> float:
        """What the best weights are chosen by: mean of image AUROC and pixel AP."""
        return (self.image_auroc + self.pixel_ap) / 2.0

    def as_mapping(self) -> dict[str, float]:
        """The three figures, rounded, for the manifest and the log."""
        return {
            "image_auroc": round(self.image_auroc, 4),
            "image_ap": round(self.image_ap, 4),
            "pixel_ap": round(self.pixel_ap, 4),
        }


@dataclass(frozen=True)
class ValidationSet:
    """`images` (M, H, W, C) uint8, `masks` (M, H, W) bool, `kinds`: one each, "" if normal."""

    images: np.ndarray
    masks: np.ndarray
    kinds: tuple[str, ...]


def validation_set(
    normals: np.ndarray,
    background: Background | None,
    synthesizer: Synthesizer,
    kinds: tuple[AnomalyKind, ...],
    seed: int,
) -> ValidationSet:
    """`normals` (N, H, W, C) uint8 and twice as many anomalous copies, the kinds taking turns.

    Copies on which nothing shows are left out. Raises InputError where that leaves none.
    """
    rng = np.random.default_rng(seed)
    images, names = list(normals), [""] * len(normals)
    masks = [np.zeros(normals.shape[1:3], bool) for _ in normals]
    for turn in range(PER_NORMAL * len(normals)):
        normal, kind = normals[turn // PER_NORMAL], kinds[turn % len(kinds)]
        foreground = foreground_mask(normal, background)
        painted, mask = painted_part(normal, foreground, synthesizer, kind, rng)
        if mask.any():
            images.append(painted)
            masks.append(mask)
            names.append(kind.value)
    if not any(names):
        raise InputError(
            f"none of the kinds of defects ({', '.join(kinds)}) shows on the held-out parts: allow "
            "more kinds (--option kinds=...)"
        )
    return ValidationSet(np.stack(images), np.stack(masks), tuple(names))


def painted_part(
    normal: np.ndarray,
    foreground: np.ndarray,
    synthesizer: Synthesizer,
    kind: AnomalyKind,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """`normal` (H, W, C) uint8 with a defect of `kind`, and its mask (H, W) bool: the first of
    several paintings that shows, or the last.
    """
    image = normal.astype(np.float32)
    mask = np.zeros(normal.shape[:2], bool)
    painted = image
    for _ in range(ATTEMPTS):
        painted = synthesizer.paint_kind(image, foreground, kind, rng)
        mask = visible_change(painted, image) > 0
        if mask.sum() >= 10:
            break
    return painted.astype(np.uint8), mask


def validate(bundle: Bundle, images: ValidationSet, device: str) -> Figures:
    """Score every image as the line would, and compare with what was painted."""
    inspector = Inspector(bundle, device)
    inspections = list(_inspections(inspector, images.images))
    scores = np.concatenate([inspection.scores for inspection in inspections])
    maps = np.concatenate([inspection.anomaly_maps for inspection in inspections])
    return figures(scores, maps, images)


def figures(scores: np.ndarray, maps: np.ndarray, images: ValidationSet) -> Figures:
    """Figures of scores (M,) and anomaly maps (M, H, W) over a validation set."""
    anomalous = np.array([bool(kind) for kind in images.kinds])
    of_kind = {
        kind: _auroc_against_normals(scores, images.kinds, kind)
        for kind in sorted(set(images.kinds) - {""})
    }
    pixels, truth = maps[:, ::2, ::2].ravel(), images.masks[:, ::2, ::2].ravel()
    return Figures(
        float(roc_auc_score(anomalous, scores)),
        float(average_precision_score(anomalous, scores)),
        float(average_precision_score(truth, pixels)),
        of_kind,
    )


def _auroc_against_normals(scores: np.ndarray, kinds: tuple[str, ...], kind: str) -> float:
    chosen = np.array([name in ("", kind) for name in kinds])
    truth = np.array([name == kind for name in kinds])
    return float(roc_auc_score(truth[chosen], scores[chosen]))


def _inspections(inspector: Inspector, images: np.ndarray) -> Iterator[Inspection]:
    for start in range(0, len(images), BATCH):
        yield inspector.inspect(images[start : start + BATCH])
