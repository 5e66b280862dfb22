"""Whose scores a calibration may judge: its own, and those that were shown to be the same.

A threshold is fitted on scores that were computed in one precision, the `dtype` of the record.
Another machine may compute in another one, and a score moves a little with it. The line takes such
scores to this threshold only where a statement of parity lies beside the record:

    <folder>/<created>_<id>.parity   made by evaluate_line --parity --accept

It holds the figures of every mode that was compared, and its id is a hash of its content.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, FiniteFloat

from calibration.record import (
    CalibrationRecord,
    Count,
    SignedContent,
    calibrate_command,
    line_arguments,
    load_line_calibration,
    load_signed,
    replace_file,
)
from pipeline.config import LineConfig, SimulatedCamera
from pipeline.errors import CalibrationError

SUFFIX = ".parity"


class ComparedMode(BaseModel):
    """One mode against the reference; differences and `tolerance` are of the raw score.

    `tolerance` is what is allowed at the threshold; `flips` are verdicts that differ, all of parts
    nearer to the threshold than that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    mode: str
    dtype: str
    batch_size: Count
    threads: Count
    tolerance: FiniteFloat
    parts_within_tolerance: Count
    largest_difference: FiniteFloat
    p99_difference: FiniteFloat
    largest_map_difference: FiniteFloat
    flips: Count


class ParityStatement(SignedContent):
    """That all `modes` gave the verdicts of the reference, by the threshold of one calibration."""

    line: Count
    calibration_id: str
    bundle_id: str
    threshold: FiniteFloat
    calibrated_in: str
    reference: str
    device: str
    source: str
    parts: Count
    images_digest: str
    modes: tuple[ComparedMode, ...]
    created: AwareDatetime
    versions: dict[str, str]

    @property
    def dtypes(self) -> frozenset[str]:
        """The precisions whose scores were shown to be the same."""
        return frozenset(mode.dtype for mode in self.modes)


def load_calibration_for(
    config: LineConfig, bundle_id: str, bundles_own: str, dtype: str
) -> CalibrationRecord:
    """The active calibration of a line whose networks compute in `dtype`, for instance bfloat16.

    Raises CalibrationError as `load_line_calibration`, and where the calibration was made in
    another precision and no parity of the two was shown.
    """
    record = load_line_calibration(config, bundle_id, bundles_own)
    if record.dtype == dtype:
        return record
    mend = f"Calibrate on this machine: {calibrate_command(config)}"
    shown = load_parity(config.calibration.folder, record, mend)
    if shown is None or not {record.dtype, dtype} <= shown.dtypes:
        raise CalibrationError(
            f"{config.calibration.folder / record.file_name}: this calibration was made in "
            f"{record.dtype}, and the networks compute in {dtype} here; scores move a little with "
            f"the precision, so the threshold may not hold. {mend}. Or show on a machine that "
            f"computes in both that the verdicts are the same, {_gate_command(config)}, and put "
            f"the file {parity_file(config.calibration.folder, record).name} here too"
        )
    return record


def load_parity(folder: Path, record: CalibrationRecord, mend: str) -> ParityStatement | None:
    """What was shown for this calibration, None where nothing was.

    Raises CalibrationError, ending in `mend`, where the file is damaged, changed, or of another
    calibration.
    """
    path = parity_file(folder, record)
    if not path.exists():
        return None
    statement = load_signed(path, ParityStatement, "statement of parity", mend)
    if statement.calibration_id != record.id:
        raise CalibrationError(
            f"{path}: it was made for calibration {statement.calibration_id}, not {record.id}. "
            f"{mend}"
        )
    return statement


def save_parity(folder: Path, record: CalibrationRecord, statement: ParityStatement) -> Path:
    """Write the statement beside its record, in place of an older one; its file.

    Raises CalibrationError where the folder cannot be written.
    """
    assert statement.calibration_id == record.id
    path = parity_file(folder, record)
    try:
        replace_file(path, statement.signed_text())
    except OSError as error:
        raise CalibrationError(
            f"{path}: cannot be stored: {error}; mend the folder and repeat"
        ) from error
    return path


def withdraw_parity(folder: Path, record: CalibrationRecord) -> bool:
    """Remove what was once shown for this calibration; whether there was anything."""
    path = parity_file(folder, record)
    if not path.exists():
        return False
    try:
        path.unlink()
    except OSError as error:
        raise CalibrationError(
            f"{path}: this statement no longer holds, and cannot be removed: {error}; remove it"
        ) from error
    return True


def parity_file(folder: Path, record: CalibrationRecord) -> Path:
    """Where the statement of a calibration lies."""
    return folder / Path(record.file_name).with_suffix(SUFFIX)


def _gate_command(config: LineConfig) -> str:
    parts = "--parts 60" if isinstance(config.camera, SimulatedCamera) else "--dataset DIR"
    return f"evaluate_line {line_arguments(config)} --parity {parts} --accept"
