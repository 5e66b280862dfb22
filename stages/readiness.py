"""Whether a line's model bundle is there, whole, and made for what the line shows it; and in which
precision this machine runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.config import Frame, LineConfig
from pipeline.errors import BundleError, ConfigError
from pipeline.next_command import train_command
from stages.bundle import Bundle, load_bundle
from stages.execution import Execution
from stages.preprocessing.prepare import preparation_settings

CHANNELS = {"grey": 1, "rgb": 3}


def load_line_bundle(config: LineConfig) -> Bundle:
    """The bundle of a line, verified, and trained on frames prepared as this line prepares them;
    with the steps and eta of DDIM that the line asks for in place of its own.

    Raises BundleError where it is missing, incomplete or changed, or where it was made for
    another size, number of channels or preparation; the text names both values.
    """
    train = train_command(config)
    mend = f"train a new one with `{train}`, or restore the folder from its backup"
    bundle = load_bundle(config.model.bundle, mend)
    differences = preparation_differences(bundle, config.frame)
    if differences:
        raise BundleError(
            f"the model bundle {bundle.folder} ({bundle.id}) was made for frames prepared "
            f"differently than line {config.line} prepares them: {'; '.join(differences)}. "
            f"Set the line's `frame` as the bundle wants it, or train a bundle for it: {train}"
        )
    return _with_ddim(bundle, config.reconstruction.ddim)


def _with_ddim(bundle: Bundle, changes: Mapping[str, Any]) -> Bundle:
    """The same weights under the same id, run in another way: the calibration tells them apart."""
    if not changes:
        return bundle
    profile = bundle.manifest.profile
    changed = replace(profile, diffusion=replace(profile.diffusion, **changes))
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"profile": changed}))


def computes_in(config: LineConfig) -> str:
    """The precision of the line's scores on this machine, as a calibration names it: `bfloat16`,
    `float32`, or one of these by OpenVINO. Raises ConfigError for a device that is not there, and
    for devices of which one computes in another precision: a score may not depend on the worker
    that a part came to.
    """
    devices = dict.fromkeys((config.model.device, *config.devices))
    dtypes = {name: _dtype(name) for name in devices}
    if len(set(dtypes.values())) > 1:
        found = ", ".join(f"{name} in {dtype}" for name, dtype in dtypes.items())
        raise ConfigError(
            f"the devices of line {config.line} do not compute in the same precision ({found}), so "
            f"a score would depend on the worker that a part comes to: name devices of one kind in "
            f"model.device and in the devices of stages.reconstruction and stages.segmentation"
        )
    return dtypes[config.model.device]


def _dtype(device: str) -> str:
    return Execution(device).computes_in


def preparation_differences(bundle: Bundle, frame: Frame) -> list[str]:
    """In words, each value in which the bundle's preparation and the line's differ."""
    manifest = bundle.manifest
    differences = _differences(manifest.preprocessing, preparation_settings(frame))
    if differences:
        return differences
    return _differences(
        {"channels": manifest.channels, "input_px": manifest.image_size_px},
        {"channels": CHANNELS[frame.colour], "input_px": frame.input_px},
    )


def _differences(made_for: Mapping[str, Any], line_has: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} is {_shown(made_for, name)} in the bundle and {_shown(line_has, name)} in the line"
        for name in {**made_for, **line_has}
        if _plain(made_for.get(name)) != _plain(line_has.get(name))
    ]


def _shown(settings: Mapping[str, Any], name: str) -> str:
    return repr(_plain(settings[name])) if name in settings else "not given"


def _plain(value: Any) -> Any:
    """Tuples as the lists that YAML gives back."""
    return list(value) if isinstance(value, tuple) else value
