from __future__ import annotations

from pathlib import Path

import pytest

from calibration.record import CalibrationRecord, save_and_activate
from calibration.record_parity import (
    load_calibration_for,
    load_parity,
    parity_file,
    save_parity,
)
from calibration_records import calibration_record, parity_statement
from pipeline.config import LineConfig
from pipeline.config_file import CONFIGS, line_file, load_line
from pipeline.errors import CalibrationError
from stages.bundle_identity import stated_identity

MEND = "calibrate again"
OWN = "norm_guided"


def record(dtype: str = "bfloat16", threshold: float = 0.5) -> CalibrationRecord:
    return calibration_record(dtype=dtype, threshold=threshold)


@pytest.fixture
def config(tmp_path: Path) -> LineConfig:
    return load_line(line_file(3), [("calibration.folder", str(tmp_path))])


def test_what_is_saved_is_loaded_to_the_last_bit(tmp_path: Path) -> None:
    own = record()
    save_and_activate(tmp_path, own)
    assert load_parity(tmp_path, own, MEND) is None
    saved = parity_statement(own, "float32", "bfloat16")
    path = save_parity(tmp_path, own, saved)
    assert path.name == f"20261122T120000Z_{own.id}.parity"
    assert load_parity(tmp_path, own, MEND) == saved
    assert saved.dtypes == {"float32", "bfloat16"}


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("flips: 1", "flips: 0", "changed since it was written"),
        ("dtype: bfloat16", "dtype: float16", "changed since it was written"),
        ("parts: 130\n", "", "parts: field required"),
        ("flips: 1", "flips: 1\n  passed: true", r"passed: extra inputs"),
        ("format_version: 1", "format_version: 2", "format version 2"),
        ("line: 3", "line: {", "cannot be read"),
    ],
)
def test_a_changed_statement_is_refused(tmp_path: Path, old: str, new: str, match: str) -> None:
    own = record()
    save_and_activate(tmp_path, own)
    path = save_parity(tmp_path, own, parity_statement(own, "bfloat16"))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(CalibrationError, match=match) as caught:
        load_parity(tmp_path, own, MEND)
    assert str(caught.value).endswith(MEND)


def test_a_statement_does_not_serve_another_calibration(tmp_path: Path) -> None:
    own, other = record(), record(threshold=0.7)
    save_and_activate(tmp_path, own)
    path = save_parity(tmp_path, own, parity_statement(own, "bfloat16"))
    path.rename(parity_file(tmp_path, other))
    with pytest.raises(
        CalibrationError, match=f"was made for calibration {own.id}, not {other.id}"
    ):
        load_parity(tmp_path, other, MEND)


def test_what_was_accepted_of_other_modes_stays(config: LineConfig, tmp_path: Path) -> None:
    own = record("bfloat16")
    save_and_activate(tmp_path, own)
    gpu = parity_statement(own, "cuda-float32", "cuda-bfloat16", device="cuda:0")
    first = parity_statement(own, "bfloat16", "openvino-bfloat16")
    for statement in (first, gpu, parity_statement(own, "bfloat16", "float32")):
        save_parity(tmp_path, own, statement)
    kept = load_parity(tmp_path, own, MEND)
    assert kept is not None
    assert [mode.dtype for mode in kept.modes] == ["bfloat16", "float32"]
    assert [(run.device, [mode.dtype for mode in run.modes]) for run in kept.earlier] == [
        ("cuda:0", ["cuda-float32", "cuda-bfloat16"]),
        ("cpu", ["openvino-bfloat16"]),
    ]
    for dtype in ("bfloat16", "float32", "openvino-bfloat16", "cuda-bfloat16"):
        assert load_calibration_for(config, "abc123", OWN, dtype) == own


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_refused_mode_does_not_start_even_with_its_own_calibration(
    config: LineConfig, tmp_path: Path, dtype: str
) -> None:
    own = record("bfloat16")
    save_and_activate(tmp_path, own)
    accepted = parity_statement(own, "float32", "bfloat16")
    save_parity(tmp_path, own, accepted)
    save_parity(tmp_path, own, parity_statement(own, refused=(dtype,)))
    with pytest.raises(CalibrationError, match=f"{dtype} is far off") as caught:
        load_calibration_for(config, "abc123", OWN, dtype)
    assert str(caught.value).count("evaluate_line --line 3 --parity --parts 60 --accept") == 1
    save_parity(tmp_path, own, parity_statement(own, "openvino-float32"))
    with pytest.raises(CalibrationError, match=f"{dtype} is far off"):
        load_calibration_for(config, "abc123", OWN, dtype)
    save_parity(tmp_path, own, accepted)
    assert load_calibration_for(config, "abc123", OWN, dtype) == own


def test_no_other_mode_follows_a_calibration_whose_own_was_refused(
    config: LineConfig, tmp_path: Path
) -> None:
    own = record("bfloat16")
    save_and_activate(tmp_path, own)
    save_parity(tmp_path, own, parity_statement(own, "float32", "bfloat16"))
    save_parity(tmp_path, own, parity_statement(own, refused=("bfloat16",)))
    with pytest.raises(CalibrationError, match="of bfloat16, on a machine"):
        load_calibration_for(config, "abc123", OWN, "float32")


def test_a_gpu_needs_a_parity_of_its_own(config: LineConfig, tmp_path: Path) -> None:
    own = record("bfloat16")
    save_and_activate(tmp_path, own)
    on_gpu = config.model_copy(
        update={"model": config.model.model_copy(update={"device": "cuda:1"})}
    )
    with pytest.raises(CalibrationError) as caught:
        load_calibration_for(on_gpu, "abc123", OWN, "cuda-bfloat16")
    command = "evaluate_line --line 3 --parity --parts 60 --accept --set model.device="
    assert f"{command}cpu and {command}cuda:1" in str(caught.value)
    save_parity(tmp_path, own, parity_statement(own, "bfloat16"))
    with pytest.raises(CalibrationError, match="of cuda-bfloat16, on a machine"):
        load_calibration_for(on_gpu, "abc123", OWN, "cuda-bfloat16")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    own = record()
    with pytest.raises(CalibrationError, match="cannot be stored"):
        save_parity(tmp_path / "file", own, parity_statement(own, "bfloat16"))


def test_a_calibration_judges_scores_of_its_own_precision(
    config: LineConfig, tmp_path: Path
) -> None:
    own = record("bfloat16")
    save_and_activate(tmp_path, own)
    assert load_calibration_for(config, "abc123", OWN, "bfloat16") == own
    with pytest.raises(CalibrationError, match="made in bfloat16, and the networks") as caught:
        load_calibration_for(config, "abc123", OWN, "float32")
    text = str(caught.value)
    assert "compute in float32 here" in text
    assert "calibrate_line --line 3 --parts 200 --false-reject-rate 0.01" in text
    assert text.count("evaluate_line --line 3 --parity --parts 60 --accept") == 1
    assert parity_file(tmp_path, own).name in text
    assert caught.value.exit_code == 3


def test_the_commands_are_those_of_the_line_as_it_is(config: LineConfig, tmp_path: Path) -> None:
    section = config.reconstruction.model_copy(update={"paradigm": "ddim"})
    folder = load_line(line_file(1)).camera
    other = config.model_copy(update={"reconstruction": section, "camera": folder})
    save_and_activate(tmp_path, record().model_copy(update={"paradigm": "ddim"}))
    with pytest.raises(CalibrationError) as caught:
        load_calibration_for(other, "abc123", OWN, "float32")
    changed = "--line 3 --set reconstruction.paradigm=ddim"
    assert f"calibrate_line {changed} --images DIR" in str(caught.value)
    assert f"evaluate_line {changed} --parity --dataset DIR --accept" in str(caught.value)


def test_a_calibration_judges_what_was_shown_to_be_the_same(
    config: LineConfig, tmp_path: Path
) -> None:
    own = record("bfloat16")
    save_and_activate(tmp_path, own)
    save_parity(tmp_path, own, parity_statement(own, "float32", "bfloat16"))
    assert load_calibration_for(config, "abc123", OWN, "float32") == own
    with pytest.raises(CalibrationError, match="in float16 here"):
        load_calibration_for(config, "abc123", OWN, "float16")


@pytest.mark.parametrize("dtypes", [("float32",), ("bfloat16",), ()])
def test_both_precisions_must_have_been_compared(
    config: LineConfig, tmp_path: Path, dtypes: tuple[str, ...]
) -> None:
    own = record("bfloat16")
    save_and_activate(tmp_path, own)
    save_parity(tmp_path, own, parity_statement(own, *dtypes))
    with pytest.raises(CalibrationError, match="made in bfloat16"):
        load_calibration_for(config, "abc123", OWN, "float32")


def test_a_new_calibration_needs_a_parity_of_its_own(config: LineConfig, tmp_path: Path) -> None:
    own, newer = record(), record(threshold=0.7)
    save_and_activate(tmp_path, own)
    save_parity(tmp_path, own, parity_statement(own, "float32", "bfloat16"))
    save_and_activate(tmp_path, newer)
    with pytest.raises(CalibrationError, match=newer.id):
        load_calibration_for(config, "abc123", OWN, "float32")


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_shipped_calibration_serves_every_processor(dtype: str) -> None:
    config = load_line(CONFIGS / "line_3.yaml")
    bundle_id, paradigm = stated_identity(config.model.bundle, "")
    assert load_calibration_for(config, bundle_id, paradigm, dtype).line == 3
