"""The line that suffers: a small model, its calibration, its configuration, in one folder."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from calibration.command import main as calibrate
from calibration.record import load_active, save_and_activate
from pipeline.config import LineConfig
from pipeline.config_file import line_file, load_line, read_yaml
from pipeline.errors import LineError
from stages.bundle import Bundle, BundleManifest, save_bundle
from stages.model_profiles import ModelProfile, untrained_networks
from stages.preprocessing.prepare import preparation_settings
from stages.reconstruction.unet import UNetSizes
from stages.segmentation.network import SegmentationSizes

LINE = 3
FRAME_PX, INPUT_PX = 160, 160
BROKEN_RECIPE = "broken"
"""A recipe whose networks give no number."""
HUGE, LARGE = 1e30, 1e3
"""What a broken network multiplies by, at first, and again and again."""
SMALL = ModelProfile(
    name="small",
    unet=UNetSizes(
        width=8,
        multipliers=(1, 1),
        blocks_per_level=1,
        attention_levels=(),
        heads=2,
        groups=4,
        unshuffle=4,
        resample_in_blocks=False,
    ),
    segmentation=SegmentationSizes(widths=(8, 8), unshuffle=2, groups=0, difference=True),
)
SETTINGS: dict[str, Any] = {
    "timing": {"deadline_ms": 2000, "margin_ms": 20},
    "supervision": {
        "restarts": 5,
        "window_s": 60,
        "start_timeout_s": 30,
        "hold_fault": True,
    },
    "stages": {},
    "reject_log": {"pass_image_share": 0.01},
}
"""A line that a PLC can bring back from FAULT; how soon a silent process shows is the default."""


def build_plant(folder: Path, mqtt: dict[str, Any], rate_hz: float | None) -> LineConfig:
    """Train nothing, calibrate, and write `folder`/line.yaml; the configuration."""
    path = folder / "line.yaml"
    data = read_yaml(line_file(LINE)) | SETTINGS
    data |= {"data_folder": "data", "run_folder": str(folder / "run")}
    data["camera"] |= {"size_px": [FRAME_PX] * 2, "defect_share": 0.3, "rate_hz": rate_hz}
    data["frame"] |= {"colour": "grey", "size_px": [FRAME_PX] * 2, "input_px": [INPUT_PX] * 2}
    data["model"] = {"bundle": "bundle", "device": "cpu"}
    data["calibration"] = {"folder": "calibration"}
    data["recipes"] = [
        {"name": BROKEN_RECIPE, "bundle": "broken_bundle", "calibration": "broken_calibration"}
    ]
    data["mqtt"] = {**data["mqtt"], "keepalive_s": 2, **mqtt}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    config = load_line(path)
    bundle = _save(config, config.model.bundle)
    broken = _save(config, folder / "broken_bundle", broken=True)
    _calibrate(path)
    record = load_active(config.calibration.folder, bundle.id, "")
    other = record.model_copy(update={"bundle_id": broken.id})
    save_and_activate(folder / "broken_calibration", other)
    return config


def _save(config: LineConfig, folder: Path, *, broken: bool = False) -> Bundle:
    """Random networks, always the same. In a `broken` one sums soon leave what a number of 32 bits
    can say, and those of infinities of both signs are no number, which must come through all the
    layers after it.
    """
    unet, segmentation = untrained_networks(SMALL, 1)
    if broken:
        norms = [module for module in segmentation.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.weight.data.mul_(HUGE if norm is norms[0] else LARGE)
    preparation: dict[str, Any] = {**preparation_settings(config.frame)}
    manifest = BundleManifest(
        profile=SMALL,
        channels=1,
        image_size_px=(INPUT_PX, INPUT_PX),
        noise_seed=1,
        preprocessing=preparation,
        weights_dtype="float32",
        data_digest="0" * 16,
        versions={},
        created="2026-01-01T00:00:00+00:00",
    )
    return save_bundle(folder, manifest, unet, segmentation)


def _calibrate(path: Path) -> None:
    """As a user does; a fifth of the good parts may be rejected, so that both verdicts occur."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            calibrate(["--config", str(path), "--parts", "60", "--false-reject-rate", "0.2"])
        except SystemExit as end:
            if end.code:
                raise LineError(
                    f"the campaign's line was not calibrated: {said.getvalue()}"
                ) from end
