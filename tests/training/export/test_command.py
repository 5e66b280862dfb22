"""`train_line export` on a small line, from the command's words to the file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.command import main as calibrate
from evaluation.parity import TOLERANCES
from stages.bundle import load_bundle
from training.command import main
from training.export.onnx_file import read_metadata

Export = Callable[..., int]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    code = ended.value.code
    return code if isinstance(code, int) else 0


@pytest.fixture
def line(tiny_line: Path, tmp_path: Path) -> list[str]:
    return ["--config", str(tiny_line), "--set", f"calibration.folder={tmp_path}/calibration"]


@pytest.fixture
def export(line: list[str], monkeypatch: pytest.MonkeyPatch) -> Export:
    monkeypatch.setattr("evaluation.near_threshold.PAIRS", 2)
    monkeypatch.setattr("evaluation.parity_gate.THREADS", (1,))
    return lambda *arguments: run("export", *line, *arguments)


@pytest.mark.slow
def test_a_calibrated_line_becomes_a_file_in_a_folder(
    export: Export, line: list[str], tiny_line: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        calibrate([*line, "--parts", "20", "--false-reject-rate", "0.3"])
    assert not ended.value.code
    folder = tmp_path / "exported"
    folder.mkdir()

    assert export("--onnx", folder, "--parts", 12) == 0

    bundle = load_bundle(tiny_line.parent / "bundle")
    (file,) = folder.iterdir()
    assert file.name == f"line_3_{bundle.id}.onnx"
    assert read_metadata(file)["bundle_id"] == bundle.id
    shown = capsys.readouterr().out
    assert "Threshold" in shown
    assert "(calibration " in shown
    assert f"{file}: bundle {bundle.id}, norm_guided, images of 64 x 64 pixels" in shown


@pytest.mark.slow
def test_what_scores_otherwise_is_deleted_and_an_older_file_stays(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(TOLERANCES, "float32", 1e-12)
    folder, parts = tmp_path / "exported", tmp_path / "parts"
    for made in (folder, parts):
        made.mkdir()
    grain = np.random.default_rng(1).integers(0, 256, (3, 128, 128), dtype=np.uint8)
    for index, image in enumerate(grain):
        cv2.imwrite(str(parts / f"{index}.png"), image)
    older = folder / "older.onnx"
    older.write_bytes(b"older")

    one_step = ("--set", "reconstruction.paradigm=one_step")
    assert export("--onnx", older, "--images", parts, *one_step) == 1

    told = capsys.readouterr()
    assert "onnxruntime is refused in 3" in told.err
    assert "times what is allowed" in told.err
    assert "REFUSED" in told.out
    assert list(folder.iterdir()) == [older]
    assert older.read_bytes() == b"older"


@pytest.mark.slow
def test_openvinos_form_is_checked_in_openvino_and_replaces_an_earlier_one(
    export: Export, tiny_line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pytest.importorskip("openvino", reason="needs the package openvino, which is optional")
    folder, name = tmp_path / "ir", f"line_3_{load_bundle(tiny_line.parent / 'bundle').id}"
    folder.mkdir()
    (folder / "line_3_0123456789abcdef.xml").write_text("an earlier one")

    assert export("--openvino", folder, "--parts", 12) == 0

    assert sorted(it.name for it in folder.iterdir()) == [f"{name}.bin", f"{name}.xml"]
    shown = capsys.readouterr().out
    assert "openvino: tolerance" in shown
    assert 'compile the file with INFERENCE_PRECISION_HINT "f32"' in shown
    assert f"{folder / name}.xml: bundle " in shown
    monkeypatch.setitem(TOLERANCES, "float32", 1e-12)
    before = (folder / f"{name}.xml").read_bytes()
    assert export("--openvino", folder, "--parts", 12) == 1
    assert "openvino is refused in 3" in capsys.readouterr().err
    assert (folder / f"{name}.xml").read_bytes() == before


def test_a_folder_with_anything_else_is_not_replaced(
    export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino", reason="needs the package openvino, which is optional")
    (tmp_path / "mine.txt").write_text("")
    assert export("--openvino", tmp_path) == 2
    assert "holds 'mine.txt', which is not of an export" in capsys.readouterr().err


def test_openvino_is_named_where_it_is_missing(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert export("--openvino", tmp_path / "ir") == 2
    told = capsys.readouterr().err
    assert "needs the packages openvino, which are not installed" in told
    assert "'.[export,openvino]'" in told


@pytest.mark.parametrize("paradigm", ["ddim", "iterative"])
def test_a_paradigm_of_many_passes_is_refused(
    export: Export, tmp_path: Path, paradigm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_so = ("--set", f"reconstruction.paradigm={paradigm}")
    assert export("--onnx", tmp_path / "a.onnx", *set_so) == 2
    assert f"the paradigm {paradigm} runs the network many times" in capsys.readouterr().err


def test_a_missing_package_is_named_with_what_installs_it(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export("--onnx", tmp_path / "a.onnx") == 2
    told = capsys.readouterr().err
    assert "needs the packages onnxruntime, which are not installed" in told
    assert "'.[export]'" in told


def test_a_place_that_cannot_be_written_is_refused_beforehand(
    export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("--onnx", "/dev/null") == 2
    assert "this is no plain file" in capsys.readouterr().err
    assert export("--onnx", tmp_path / "missing" / "a.onnx") == 2
    assert "make it first" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [(), ("--onnx",), ("--onnx", "a.onnx", "--parts", "1"), ("--onnx", "a", "--openvino", "b")],
)
def test_wrong_arguments_end_with_code_2(export: Export, wrong: tuple[str, ...]) -> None:
    assert export(*wrong) == 2


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "--help") == 0
    shown = capsys.readouterr().out
    for word in (
        "--onnx",
        "--openvino",
        "scores",
        "threshold",
        "deleted",
        "examples",
        "exit codes",
    ):
        assert word in shown
