"""What every section of a line's configuration is made of: strictness, and paths of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo


def _resolve(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path.cwd())
    return (Path(folder) / path.expanduser()).resolve()


def resolve_address(address: str, info: ValidationInfo) -> str:
    """An address with a scheme stays as it is; anything else names a file or a device."""
    return address if "://" in address else str(_resolve(Path(address), info))


ConfigPath = Annotated[Path, AfterValidator(_resolve)]
"""A path; relative ones are relative to the folder of the configuration file."""


class Section(BaseModel):
    """Base of every section: strict, closed and immutable."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
