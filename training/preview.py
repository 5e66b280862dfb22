"""Pictures for people beside a bundle: what the networks make of parts, and the curves."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from stages.bundle import Bundle
from stages.inspector import Inspector
from training.checkpoint import writing
from training.validation import ValidationSet

PREVIEW_FILE = "preview.png"
CURVES_FILE = "curves.png"
ROWS = 8
CURVE_SIZE_PX = (360, 720)
GAP_PX = 4


def write_preview(folder: Path, bundle: Bundle, images: ValidationSet, device: str) -> Path:
    """One row a part: input, reconstruction, anomaly map, painted mask; first normal parts."""
    chosen = _chosen_rows(images.kinds)
    inputs = images.images[chosen]
    inspection = Inspector(bundle, device).inspect(inputs)
    levels = (inspection.reconstructions.astype(np.float32) + 1.0) * 127.5
    reconstructions = np.clip(np.round(levels), 0, 255).astype(np.uint8)
    rows = []
    for i, index in enumerate(chosen):
        heat = (inspection.anomaly_maps[i].astype(np.float32) * 255.0).astype(np.uint8)
        mask = images.masks[index].astype(np.uint8) * 255
        cells = (_bgr(inputs[i]), _bgr(reconstructions[i]), _heat(heat), _bgr(mask[:, :, None]))
        rows.append(_joined(cells, axis=1))
    return _written(folder / PREVIEW_FILE, _joined(rows, axis=0))


def write_curves(folder: Path, log: Path) -> Path:
    """Losses and validation figures over the steps, drawn from `training.jsonl`."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    entries = [json.loads(line) for line in lines]
    charts = [
        _chart(entries, {"noise_loss": (200, 120, 0), "mask_loss": (0, 90, 220)}),
        _chart(entries, {"image_auroc": (60, 150, 0), "pixel_ap": (160, 0, 160)}),
    ]
    return _written(folder / CURVES_FILE, _joined(charts, axis=0))


def _chosen_rows(kinds: tuple[str, ...]) -> list[int]:
    normal = [i for i, kind in enumerate(kinds) if not kind][:2]
    anomalous = [i for i, kind in enumerate(kinds) if kind][: ROWS - len(normal)]
    return normal + anomalous


def _chart(entries: list[dict[str, float]], series: dict[str, tuple[int, int, int]]) -> np.ndarray:
    """A line chart (H, W, 3) BGR uint8 of some entries over `step`, on a scale from 0."""
    height, width = CURVE_SIZE_PX
    chart = np.full((height, width, 3), 255, np.uint8)
    shown = [e for e in entries if any(name in e for name in series)]
    if not shown:
        return chart
    last = max(1, *(e["step"] for e in shown))
    top = max(1e-6, *(e[name] for e in shown for name in series if name in e))
    for row, (name, colour) in enumerate(series.items()):
        values = [(e["step"] / last, e[name] / top) for e in shown if name in e]
        if not values:  # a training may leave out what this network learns from
            continue
        points = np.array(values) * [1, -1] * [width - 20, height - 60] + [10, height - 20]
        corners = [np.round(points).astype(np.int32)]
        cv2.polylines(chart, corners, False, colour, 1, cv2.LINE_AA)
        final = f"{name}: {values[-1][1] * top:.4f} at step {last} (top edge: {top:.3g})"
        place = (10, 14 + 16 * row)
        cv2.putText(chart, final, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
    return chart


def _bgr(image: np.ndarray) -> np.ndarray:
    """(H, W, 1) grey or (H, W, 3) RGB as BGR."""
    code = cv2.COLOR_GRAY2BGR if image.shape[2] == 1 else cv2.COLOR_RGB2BGR
    return np.asarray(cv2.cvtColor(image, code))


def _heat(levels: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO))


def _joined(pictures: list[np.ndarray] | tuple[np.ndarray, ...], axis: int) -> np.ndarray:
    parts: list[np.ndarray] = []
    for picture in pictures:
        shape = list(picture.shape)
        shape[axis] = GAP_PX
        parts += [picture, np.full(shape, 255, np.uint8)]
    return np.concatenate(parts[:-1], axis=axis)


def _written(path: Path, picture: np.ndarray) -> Path:
    """Raises TrainingError where the picture cannot be written; the bundle is there by then."""
    encoded, data = cv2.imencode(path.suffix, picture)
    assert encoded, f"could not encode {path}"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    return path
