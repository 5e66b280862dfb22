from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from pydantic import ValidationError

from calibration.record import (
    ACTIVE,
    CalibrationRecord,
    check_folder,
    load_active,
    load_line_calibration,
    load_record,
    save_and_activate,
)
from calibration_records import calibration_record
from pipeline.config import LineConfig
from pipeline.config_file import CONFIGS, line_file, load_line
from pipeline.errors import CalibrationError

HINT = "calibrate_line --line 3 --images DIR --false-reject-rate 0.01"
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def record(
    threshold: float = 0.031234567891234, created: datetime = NOON, paradigm: str | None = None
) -> CalibrationRecord:
    return calibration_record(
        paradigm=paradigm,
        threshold=threshold,
        preparation={"colour": "grey", "region": None, "input_px": (256, 256)},
        score_quantiles={"minimum": 1e-30, "median": 1e-5},
        created=created,
        versions={"torch": "2.13.0"},
    )


@pytest.mark.parametrize("threshold", [0.1, 1 / 3, 1e-30, 5e-324, 123456.789, 0.0])
def test_what_is_saved_is_loaded_to_the_last_bit(tmp_path: Path, threshold: float) -> None:
    saved = record(threshold)
    path = save_and_activate(tmp_path / "new" / "folder", saved)
    loaded = load_active(tmp_path / "new" / "folder", "abc123", HINT)
    assert loaded == saved
    assert loaded.id == saved.id
    assert path.name == f"20261122T120000Z_{saved.id}.yaml"


def test_the_file_name_has_the_time_in_utc() -> None:
    east = record(created=NOON.astimezone(timezone(timedelta(hours=9))))
    assert east.file_name == f"20261122T120000Z_{east.id}.yaml"


def test_the_id_changes_with_the_content() -> None:
    ids = {record().id, record(threshold=0.5).id, record(created=NOON + timedelta(seconds=1)).id}
    assert len(ids) == 3
    assert all(len(known) == 12 and int(known, 16) >= 0 for known in ids)
    assert record().id == record().id


def test_roll_back_is_one_name(tmp_path: Path) -> None:
    old = save_and_activate(tmp_path, record(0.1))
    old_bytes = old.read_bytes()
    save_and_activate(tmp_path, record(0.2, NOON + timedelta(hours=1)))
    assert load_active(tmp_path, "abc123", HINT).threshold == 0.2
    assert old.read_bytes() == old_bytes
    (tmp_path / ACTIVE).write_text(f"{old.name}\n")
    assert load_active(tmp_path, "abc123", HINT).threshold == 0.1
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".yaml", ".yaml"]


def refused(folder: Path, match: str, bundle_id: str = "abc123") -> None:
    with pytest.raises(CalibrationError, match=match) as caught:
        load_active(folder, bundle_id, HINT)
    assert HINT in str(caught.value)
    assert caught.value.exit_code == 3


def test_no_calibration(tmp_path: Path) -> None:
    refused(tmp_path, "no calibration yet")
    refused(tmp_path / "missing", "no calibration yet")


def test_calibration_of_another_bundle(tmp_path: Path) -> None:
    save_and_activate(tmp_path, record())
    refused(tmp_path, r"belongs to model bundle abc123, the line has fff999", "fff999")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("threshold: 0.031234567891234", "threshold: 0.9", "changed since it was written"),
        ("used: 99", "used: 98", "changed since it was written"),
        ("bundle_id: abc123", "bundle_id: abc124", "changed since it was written"),
        ("id: ", "id: 0", "changed since it was written"),
        ("threshold: 0.031234567891234", "threshold: .nan", "threshold: input should be a finite"),
        ("threshold: 0.031234567891234", "threshold: high", "threshold: input should be a valid"),
        ("device: cpu", "device: cpu\nextra: 1", "extra: extra inputs are not permitted"),
        ("rank: 99\n", "", "rank: field required"),
        ("format_version: 1", "format_version: 2", "format version 2 is unknown"),
        ("line: 3", "line: {", "cannot be read"),
        ("created: '2026-11-22T12:00:00Z'", "created: 2026-11-22", "damaged"),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, old: str, new: str, match: str) -> None:
    path = save_and_activate(tmp_path, record())
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    refused(tmp_path, match)


@pytest.mark.parametrize("content", [b"", b"- a list", b"\xff\xfe\x00", b"text"])
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, content: bytes) -> None:
    save_and_activate(tmp_path, record()).write_bytes(content)
    refused(tmp_path, "not a calibration|cannot be read")


def test_a_file_under_another_name_is_refused(tmp_path: Path) -> None:
    path = save_and_activate(tmp_path, record())
    path.rename(tmp_path / "copy.yaml")
    refused(tmp_path, "expected the name of one calibration file of the folder")
    (tmp_path / ACTIVE).write_text("copy.yaml")
    refused(tmp_path, "changed since")


@pytest.mark.parametrize("name", ["", "../other/calibration.yaml", "/etc/passwd", "\n"])
def test_active_names_one_file_of_the_folder(tmp_path: Path, name: str) -> None:
    save_and_activate(tmp_path, record())
    (tmp_path / ACTIVE).write_text(name)
    refused(tmp_path, rf"one calibration file of the folder \({record().file_name}\), got")


def test_without_active_the_newest_of_the_calibrations_is_named(tmp_path: Path) -> None:
    save_and_activate(tmp_path, record())
    newest = save_and_activate(tmp_path, record(0.2, NOON + timedelta(hours=1)))
    (tmp_path / ACTIVE).unlink()
    refused(tmp_path, rf"active: missing.* \({newest.name} is the newest of 2\)")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CalibrationError, match="cannot be stored"):
        save_and_activate(tmp_path / "file" / "folder", record())


def test_a_record_cannot_be_changed_and_takes_no_odd_values() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        record().threshold = 1.0  # type: ignore[misc]  # the point of the test
    with pytest.raises(ValidationError, match="finite"):
        record(threshold=float("nan"))


def test_a_calibration_belongs_to_its_paradigm(tmp_path: Path) -> None:
    save_and_activate(tmp_path, record(paradigm="ddim"))
    assert load_active(tmp_path, "abc123", HINT, "ddim").paradigm == "ddim"
    with pytest.raises(CalibrationError, match="made with the denoising paradigm ddim") as caught:
        load_active(tmp_path, "abc123", HINT)
    assert "the line runs the model bundle's own" in str(caught.value)
    assert HINT in str(caught.value)
    with pytest.raises(CalibrationError, match="the line runs the denoising paradigm one_step"):
        load_active(tmp_path, "abc123", HINT, "one_step")


def test_a_calibration_without_a_paradigm_is_of_the_bundles_own(tmp_path: Path) -> None:
    """So were all that were made before lines could choose; their files still hold."""
    path = save_and_activate(tmp_path, record())
    assert "paradigm" not in path.read_text()
    assert load_active(tmp_path, "abc123", HINT).paradigm is None
    with pytest.raises(CalibrationError, match="made with the model bundle's own") as caught:
        load_active(tmp_path, "abc123", HINT, "ddim")
    assert caught.value.exit_code == 3


def test_a_line_takes_the_calibration_of_its_own_paradigm(tmp_path: Path) -> None:
    def line(paradigm: str | None) -> LineConfig:
        changes = [("calibration.folder", str(tmp_path)), ("reconstruction.paradigm", paradigm)]
        return load_line(line_file(3), changes)

    save_and_activate(tmp_path, record(0.25))
    for same in (None, "norm_guided"):
        assert load_line_calibration(line(same), "abc123", "norm_guided").threshold == 0.25
    with pytest.raises(CalibrationError) as caught:
        load_line_calibration(line("ddim"), "abc123", "norm_guided")
    assert "calibrate_line --line 3 --set reconstruction.paradigm=ddim --parts 200" in str(
        caught.value
    )


def test_a_calibration_for_other_steps_of_ddim_is_refused(tmp_path: Path) -> None:
    def line(**ddim: float) -> LineConfig:
        changes = [("calibration.folder", str(tmp_path)), ("reconstruction.paradigm", "ddim")]
        given = [(f"reconstruction.{key}", value) for key, value in ddim.items()]
        return load_line(line_file(3), [*changes, *given])

    ten = line(ddim_steps=10)
    mode = ten.reconstruction.other_than("norm_guided")
    save_and_activate(tmp_path, record(0.25, paradigm=mode))
    assert load_line_calibration(ten, "abc123", "norm_guided").threshold == 0.25
    for other in (line(), line(ddim_steps=11), line(ddim_steps=10, ddim_eta=0.5)):
        with pytest.raises(CalibrationError, match="ddim with ddim_steps 10, the line") as caught:
            load_line_calibration(other, "abc123", "norm_guided")
    assert (
        "--line 3 --set reconstruction.paradigm=ddim --set reconstruction.ddim_steps=10 "
        "--set reconstruction.ddim_eta=0.5 --parts 200" in str(caught.value)
    )


def test_the_shipped_calibration_is_as_it_was_written() -> None:
    folder = CONFIGS / "line_3" / "calibration"
    mend = "calibrate"
    assert [load_record(path, mend).line for path in folder.glob("*.yaml")] == [3]


def test_another_bundle_is_told_to_need_a_calibration_of_its_own(tmp_path: Path) -> None:
    save_and_activate(tmp_path, record())
    refused(tmp_path, "not the line's own needs a calibration of its own", "fff999")


def test_a_folder_is_checked_without_a_trace(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CalibrationError, match="cannot be stored"):
        check_folder(tmp_path / "file" / "folder")
