"""The id that a bundle's manifest states, for processes that do not load the networks.

Whether the bundle is whole is checked where it is loaded (`stages.bundle`).
"""

from __future__ import annotations

from pathlib import Path

import yaml

from pipeline.errors import BundleError


def stated_bundle_id(folder: Path, line: int) -> str:
    """The id in `bundle.yaml`. Raises BundleError where there is none to read."""
    file = folder / "bundle.yaml"
    mend = f"Train one: train_line --line {line} --images DIR --minutes 60"
    try:
        manifest = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"no model bundle in {folder}. {mend}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BundleError(f"{file} cannot be read: {error}. {mend}") from error
    stated = manifest.get("id") if isinstance(manifest, dict) else None
    if not isinstance(stated, str):
        raise BundleError(f"{file} states no id. {mend}")
    return stated
