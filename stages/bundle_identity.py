"""What a bundle's manifest states of itself, for processes that do not load the networks.

Whether the bundle is whole is checked where it is loaded (`stages.bundle`).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml

from pipeline.errors import BundleError

DEFAULT_PARADIGM = "norm_guided"
"""What a bundle asks for that does not say."""


class StatedIdentity(NamedTuple):
    """The id of a bundle, and the denoising paradigm that it asks for."""

    id: str
    paradigm: str


def stated_identity(folder: Path, command_hint: str) -> StatedIdentity:
    """Id and paradigm in `bundle.yaml`. Raises BundleError, with the command that trains such a
    bundle, where there is no id to read.
    """
    file = folder / "bundle.yaml"
    mend = f"Train one: {command_hint}"
    try:
        manifest = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"no model bundle in {folder}. {mend}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BundleError(f"{file} cannot be read: {error}. {mend}") from error
    stated = manifest.get("id") if isinstance(manifest, dict) else None
    if not isinstance(stated, str):
        raise BundleError(f"{file} states no id. {mend}")
    return StatedIdentity(stated, str(manifest.get("paradigm", DEFAULT_PARADIGM)))
