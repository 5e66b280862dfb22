"""Whose scores a calibration may judge: its own, and those that were shown to be the same.

A threshold is fitted on scores that were computed in one precision, the `dtype` of the record.
Another machine may compute in another one, and a score moves a little with it. The line takes such
scores to this threshold only where a statement of parity lies beside the record:

    <folder>/<created>_<id>.parity   made by evaluate_line --parity --accept

It holds the figures of every mode that was accepted, from one run of the gate or, where the modes
are of several devices, from several; and those of every mode that was refused, with or without
--accept, which the line does not start in. Its id is a hash of its content.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, FiniteFloat

from calibration.record import (
    CalibrationRecord,
    Count,
    SignedContent,
    load_line_calibration,
    load_signed,
    replace_file,
)
from pipeline.config import LineConfig, SimulatedCamera
from pipeline.errors import CalibrationError
from pipeline.next_command import calibrate_command, line_arguments

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


class RefusedMode(BaseModel):
    """A precision whose scores are not those of the reference; `figures` say how far they are."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    dtype: str
    figures: str


class Comparison(BaseModel):
    """What one run of the gate compared: its reference, images and modes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    reference: str
    device: str
    source: str
    parts: Count
    images_digest: str
    modes: tuple[ComparedMode, ...]
    created: AwareDatetime
    versions: dict[str, str]


class ParityStatement(SignedContent, Comparison):
    """That all `modes`, and those of `earlier` runs that no later one compared anew, gave the
    verdicts of the reference, by the threshold of one calibration; and that the `refused` ones did
    not.
    """

    line: Count
    calibration_id: str
    bundle_id: str
    threshold: FiniteFloat
    calibrated_in: str
    earlier: tuple[Comparison, ...] = ()
    refused: tuple[RefusedMode, ...] = ()

    def content(self) -> dict[str, Any]:
        """`earlier` and `refused` stand there only where there are any."""
        content = super().content()
        return {key: it for key, it in content.items() if it or key not in ("earlier", "refused")}

    @property
    def dtypes(self) -> frozenset[str]:
        """The precisions whose scores were shown to be the same."""
        runs = (self.modes, *(run.modes for run in self.earlier))
        return frozenset(mode.dtype for modes in runs for mode in modes)

    def refusal(self, dtype: str) -> str | None:
        """The figures with which a precision was refused; None where it was not."""
        return next((it.figures for it in self.refused if it.dtype == dtype), None)

    def with_older(self, older: ParityStatement) -> ParityStatement:
        """This statement, and of an older one what this one does not judge."""
        assert older.calibration_id == self.calibration_id
        judged = self.dtypes | {mode.dtype for mode in self.refused}
        kept = [_without(run, judged) for run in (_as_earlier(older), *older.earlier)]
        refused = [mode for mode in older.refused if mode.dtype not in judged]
        return self.model_copy(
            update={
                "earlier": tuple(run for run in kept if run.modes),
                "refused": (*self.refused, *refused),
            }
        )


def _as_earlier(statement: ParityStatement) -> Comparison:
    names = Comparison.model_fields
    return Comparison(**{name: getattr(statement, name) for name in names})


def _without(run: Comparison, judged: frozenset[str]) -> Comparison:
    modes = tuple(mode for mode in run.modes if mode.dtype not in judged)
    return run.model_copy(update={"modes": modes})


def load_calibration_for(
    config: LineConfig, bundle_id: str, bundles_own: str, dtype: str
) -> CalibrationRecord:
    """The active calibration of a line whose networks compute in `dtype`, for instance bfloat16.

    Raises CalibrationError as `load_line_calibration` and `load_parity`, where `dtype` was refused,
    and where the calibration was made in another precision and no parity of the two was shown.
    """
    record = load_line_calibration(config, bundle_id, bundles_own)
    folder = config.calibration.folder
    mend = f"Calibrate on this machine: {calibrate_command(config)}"
    shown = load_parity(folder, record, mend)
    refusal = shown.refusal(dtype) if shown else None
    if refusal is not None:
        raise CalibrationError(
            f"{parity_file(folder, record)}: the networks compute in {dtype} here, and {refusal}. "
            f"Let the line compute otherwise (model.device), or {_lower(mend)}; if its cause is "
            f"mended, show it: {gate_command(config, dtype)}"
        )
    missing = {record.dtype, dtype} - (shown.dtypes if shown else frozenset())
    if record.dtype == dtype or not missing:
        return record
    shows = " and ".join(dict.fromkeys(gate_command(config, it) for it in sorted(missing)))
    raise CalibrationError(
        f"{folder / record.file_name}: this calibration was made in {record.dtype}, and the "
        f"networks compute in {dtype} here; scores move a little with the precision, so the "
        f"threshold may not hold. {mend}. Or show that the verdicts are the same, of "
        f"{' and '.join(sorted(missing))}, on a machine that computes so: {shows}; and have the "
        f"file {parity_file(folder, record).name} beside the calibration both there and here"
    )


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
    """Write the statement beside its record, with what an older one says of other modes; its file.

    Raises CalibrationError where the folder cannot be written, or the older one cannot be used.
    """
    assert statement.calibration_id == record.id
    path = parity_file(folder, record)
    older = load_parity(folder, record, "Remove this file, and repeat")
    whole = statement if older is None else statement.with_older(older)
    try:
        replace_file(path, whole.signed_text())
    except OSError as error:
        raise CalibrationError(
            f"{path}: cannot be stored: {error}; mend the folder and repeat"
        ) from error
    return path


def parity_file(folder: Path, record: CalibrationRecord) -> Path:
    """Where the statement of a calibration lies."""
    return folder / Path(record.file_name).with_suffix(SUFFIX)


def gate_command(config: LineConfig, dtype: str) -> str:
    """What shows the parity of a precision, on a machine whose device computes in it."""
    parts = "--parts 60" if isinstance(config.camera, SimulatedCamera) else "--dataset DIR"
    device, kind = config.model.device, dtype.partition("-")[0]
    if kind not in ("cuda", "openvino"):
        kind = "cpu"
    if not device.startswith(kind):  # auto may be another one there, and is never OpenVINO
        device = "cuda:0" if kind == "cuda" else kind
    arguments = f"--parity {parts} --accept --set model.device={device}"
    return f"evaluate_line {line_arguments(config)} {arguments}"


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
