"""Calibrations on disk: every one is kept, one of them is active.

    <folder>/<created>_<id>.yaml     one file per calibration, never written again
    <folder>/active                  the name of the active one; to roll back, change this name
    <folder>/<created>_<id>.parity   whose other scores it may judge (`calibration.record_parity`)

The id is a hash of the content, so a file that was edited or damaged is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import yaml
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    ValidationError,
)

from pipeline.config import LineConfig
from pipeline.errors import CalibrationError
from pipeline.next_command import calibrate_command
from pipeline.output_file import try_writing

FORMAT_VERSION: Final = 1
ACTIVE = "active"
MOST_NAMED = 3

Rate = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Setting = str | int | float | bool | None | tuple[int, ...]


class SignedContent(BaseModel):
    """What is stored under a hash of its content; immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    format_version: Literal[1] = FORMAT_VERSION

    @property
    def id(self) -> str:
        """First 12 hex digits of the SHA-256 of the content."""
        return content_id(self.content())

    def content(self) -> dict[str, Any]:
        """What the file says, and the id is of."""
        return self.model_dump(mode="json")

    def signed_text(self) -> str:
        """The file: the id, then the content."""
        signed = {"id": self.id, **self.content()}
        return yaml.safe_dump(signed, sort_keys=False, allow_unicode=True)


Signed = TypeVar("Signed", bound=SignedContent)


class CalibrationRecord(SignedContent):
    """A threshold, what it was fitted on, and which model it belongs to.

    Scores and `threshold` are raw, `pixel_threshold` is a probability in [0, 1], rates are shares
    of normal parts. `device` and `dtype` are those of the scores that it was fitted on.
    """

    line: Annotated[int, Field(ge=1)]
    bundle_id: Annotated[str, StringConstraints(min_length=1)]
    paradigm: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Denoising paradigm that the scores are of, with what the line changed of it, where it is not
    the bundle's own.
    """
    threshold: FiniteFloat
    pixel_threshold: Rate
    wanted_false_reject_rate: Rate
    expected_false_reject_rate: Rate
    false_reject_bound_95: Rate
    rank: Annotated[int, Field(ge=1)]
    used: Count
    """Images whose scores the threshold was fitted on."""
    skipped: Count
    """Images that could not be prepared."""
    maybe_trained_on: Count
    """Of the used images, those that the model may have been trained on: optimistic scores."""
    source: str
    """Where the images came from: a folder, or the simulated camera with its seed."""
    images_digest: str
    preparation: dict[str, Setting]
    device: str
    dtype: str
    score_quantiles: dict[str, FiniteFloat]
    """Quantiles of the scores by name: minimum, p05, p25, median, p75, p95, maximum."""
    created: AwareDatetime
    versions: dict[str, str]

    def content(self) -> dict[str, Any]:
        """`paradigm` stands there only where it is set."""
        content = super().content()
        if self.paradigm is None:
            del content["paradigm"]
        return content

    @property
    def file_name(self) -> str:
        """`<created>_<id>.yaml`, with the time in UTC."""
        return f"{self.created.astimezone(UTC):%Y%m%dT%H%M%SZ}_{self.id}.yaml"


def content_id(content: Mapping[str, Any]) -> str:
    """First 12 hex digits of the SHA-256 of the content as canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def check_folder(folder: Path) -> None:
    """Raises CalibrationError where no calibration can be stored; leaves nothing behind."""
    try:
        try_writing(folder)
    except OSError as error:
        raise CalibrationError(_cannot_store(folder, error)) from error


def save_and_activate(folder: Path, record: CalibrationRecord) -> Path:
    """Write the record beside the older ones and make it the active one; its file.

    Raises CalibrationError where the folder cannot be written.
    """
    path = folder / record.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, record.signed_text())
        replace_file(folder / ACTIVE, f"{path.name}\n")
    except OSError as error:
        raise CalibrationError(_cannot_store(folder, error)) from error
    return path


def _cannot_store(folder: Path, error: OSError) -> str:
    return f"{folder}: the calibration cannot be stored: {error}; mend the folder and repeat"


def load_line_calibration(
    config: LineConfig, bundle_id: str, bundles_own: str
) -> CalibrationRecord:
    """The active calibration for this bundle and the line's paradigm, by `load_active`.

    `bundles_own` is the paradigm that the bundle asks for. Raises CalibrationError.
    """
    other = config.reconstruction.other_than(bundles_own)
    return load_active(config.calibration.folder, bundle_id, calibrate_command(config), other)


def load_active(
    folder: Path, bundle_id: str, command_hint: str, paradigm: str | None = None
) -> CalibrationRecord:
    """The active calibration of a line, checked to be whole and to belong to this model.

    `paradigm` None is the bundle's own. Raises CalibrationError that names `command_hint` where
    there is none, where it was changed or damaged, and where it belongs to another bundle or
    paradigm.
    """
    mend = f"Calibrate the line: {command_hint}"
    path = folder / _active_name(folder, mend)
    record = load_record(path, mend)
    if record.bundle_id != bundle_id:
        raise CalibrationError(
            f"{path}: this calibration belongs to model bundle {record.bundle_id}, the line has "
            f"{bundle_id}; a threshold of another model means nothing. {mend}. A bundle that is "
            "not the line's own needs a calibration of its own: give it a model.bundle and a "
            "calibration.folder, or a recipe"
        )
    if record.paradigm != paradigm:
        raise CalibrationError(
            f"{path}: this calibration was made with {_words(record.paradigm)}, the line runs "
            f"{_words(paradigm)}; a threshold of other reconstructions means nothing. {mend}"
        )
    return record


def _words(paradigm: str | None) -> str:
    if paradigm is None:
        return "the model bundle's own denoising paradigm"
    return f"the denoising paradigm {paradigm}"


def load_record(path: Path, mend: str) -> CalibrationRecord:
    """One calibration file. Raises CalibrationError, ending in `mend`, if it is not as written."""
    record = load_signed(path, CalibrationRecord, "calibration", mend)
    if path.name != record.file_name:
        raise CalibrationError(_changed(path, record, mend))
    return record


def load_signed(path: Path, kind: type[Signed], noun: str, mend: str) -> Signed:
    """A file as `signed_text` wrote it. Raises CalibrationError, ending in `mend`, if it is not."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CalibrationError(f"{path}: the {noun} is missing. {mend}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CalibrationError(f"{path}: cannot be read: {error}. {mend}") from error
    if not isinstance(content, dict):
        raise CalibrationError(f"{path}: not a {noun}. {mend}")
    given_id, version = content.pop("id", None), content.get("format_version")
    if version != FORMAT_VERSION:
        raise CalibrationError(
            f"{path}: format version {version!r} is unknown here, expected {FORMAT_VERSION}. {mend}"
        )
    try:
        signed = kind.model_validate_json(json.dumps(content))
    except (ValidationError, TypeError, ValueError) as error:
        raise CalibrationError(f"{path}: damaged: {_first_mistake(error)}. {mend}") from error
    if signed.id != given_id:
        raise CalibrationError(_changed(path, signed, mend))
    return signed


def _changed(path: Path, signed: SignedContent, mend: str) -> str:
    return f"{path}: changed since it was written (its content gives id {signed.id}). {mend}"


def _first_mistake(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(str(key) for key in first['loc'])}: {first['msg'].lower()}"


def _active_name(folder: Path, mend: str) -> str:
    try:
        name = (folder / ACTIVE).read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        stored = _stored_names(folder)
        if not stored:
            raise CalibrationError(f"{folder}: the line has no calibration yet. {mend}") from error
        raise CalibrationError(
            f"{folder / ACTIVE}: missing, so that none of the calibrations there counts: write the "
            f"name of one into it ({stored[-1]} is the newest of {len(stored)}). Or: {mend}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{folder / ACTIVE}: cannot be read: {error}. {mend}") from error
    if not name or Path(name).name != name or not (folder / name).exists():
        newest = ", ".join(_stored_names(folder)[-MOST_NAMED:])
        there = f" ({newest})" if newest else ""
        raise CalibrationError(
            f"{folder / ACTIVE}: expected the name of one calibration file of the folder{there}, "
            f"got {name!r}. Write one of them, or: {mend}"
        )
    return name


def _stored_names(folder: Path) -> list[str]:
    """The calibrations in a folder, the oldest first."""
    return sorted(path.name for path in folder.glob("*_*.yaml"))


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new one."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
