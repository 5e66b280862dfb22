"""The gate on a small line: which modes there are, what it finds, and what it keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from calibration.command import main as calibrate
from calibration.record import load_line_calibration
from calibration.record_parity import load_calibration_for, load_parity, parity_file
from evaluation.command import main
from evaluation.parity import BATCH_SIZES, TOLERANCES
from evaluation.parity_gate import batch_sizes, modes_of, thread_counts
from pipeline.config import LineConfig
from pipeline.config_file import load_line
from pipeline.errors import CalibrationError, LineError
from stages.bundle import load_bundle

CPU = torch.device("cpu")


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


class Bench:
    """A calibrated line in folders of its own, and what the gate says of it."""

    def __init__(self, tiny_line: Path, folder: Path) -> None:
        self.json = folder / "out.json"
        changes = {"calibration.folder": str(folder / "calibration")}
        self.config = load_line(tiny_line, list(changes.items()))
        self._line = [
            "--config",
            str(tiny_line),
            "--set",
            f"calibration.folder={folder}/calibration",
        ]

    def calibrate(self) -> None:
        with pytest.raises(SystemExit) as caught:
            calibrate([*self._line, "--parts", "20", "--false-reject-rate", "0.3"])
        assert not caught.value.code

    def gate(self, *arguments: str, parts: int = 12) -> int:
        common = ["--parity", "--parts", str(parts), "--json", str(self.json)]
        return run(*self._line, *common, *arguments)

    @property
    def content(self) -> dict:
        return dict(json.loads(self.json.read_text(encoding="utf-8")))

    @property
    def model(self) -> tuple[LineConfig, str, str]:
        manifest = load_bundle(self.config.model.bundle)
        return self.config, manifest.id, manifest.manifest.paradigm


@pytest.fixture
def bench(tiny_line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """On a processor that computes in bfloat16, or as if it did; fewer pairs than usual."""
    monkeypatch.setattr("stages.device._has_bfloat16", lambda _device: True)
    monkeypatch.setattr("evaluation.near_threshold.PAIRS", 2)
    monkeypatch.setattr("evaluation.parity_gate.THREADS", (1,))
    bench = Bench(tiny_line, tmp_path)
    bench.calibrate()
    return bench


def test_every_mode_is_compared_and_the_parity_kept(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    record = load_line_calibration(*bench.model)
    assert record.dtype == "bfloat16"
    assert bench.gate("--accept") == 0
    content = bench.content
    assert content["passed"] is True
    assert [(mode["mode"], mode["batch_size"]) for mode in content["modes"]] == [
        (name, size) for name in ("float32", "bfloat16") for size in BATCH_SIZES
    ]
    assert (content["parts"], content["calibration"]) == (12, record.id)
    assert content["blends"] >= 10
    assert content["parts_near"]["bfloat16"]["2"] >= content["blends"]
    statement = load_parity(bench.config.calibration.folder, record, "")
    assert statement is not None
    assert statement.parts == 12 + content["blends"]
    assert statement.dtypes == {"float32", "bfloat16"}
    assert load_calibration_for(*bench.model, "float32").id == record.id
    out = capsys.readouterr().out
    assert "The same verdicts in float32 and bfloat16" in out
    assert str(parity_file(bench.config.calibration.folder, record)) in out


def test_a_line_may_run_openvino_once_its_parity_is_shown(bench: Bench) -> None:
    pytest.importorskip("openvino", reason="needs the package openvino, which is optional")
    record = load_line_calibration(*bench.model)
    word = f"openvino-{record.dtype}"
    with pytest.raises(CalibrationError, match=f"compute in {word} here"):
        load_calibration_for(*bench.model, word)
    assert bench.gate("--accept", "--set", "model.device=openvino") == 0
    assert {mode["mode"] for mode in bench.content["modes"]} == {"float32", record.dtype, word}
    assert load_calibration_for(*bench.model, word).id == record.id


def test_what_is_accepted_is_kept_before_a_table_that_nobody_reads(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_arguments: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("evaluation.command.show_parity", closed)
    with pytest.raises(BrokenPipeError):
        bench.gate("--accept")
    assert bench.content["passed"] is True
    assert len(list(bench.config.calibration.folder.glob("*.parity"))) == 1


def test_figures_that_are_lost_do_not_cost_what_is_accepted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_arguments: object) -> None:
        raise LineError("no space left")

    monkeypatch.setattr("evaluation.command.write_text", full)
    assert bench.gate("--accept") == 1
    told = capsys.readouterr()
    assert "no space left" in told.err
    assert "Accepted: " in told.out


def test_nothing_is_kept_that_was_not_asked_for(bench: Bench) -> None:
    assert bench.gate() == 0
    assert list(bench.config.calibration.folder.glob("*.parity")) == []


@pytest.mark.parametrize("accept", [["--accept"], []])
def test_a_refused_mode_ends_with_its_figures_and_the_line_refuses_it_too(
    bench: Bench,
    accept: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench.gate("--accept") == 0
    with monkeypatch.context() as stricter:
        stricter.setitem(TOLERANCES, "bfloat16", 1e-9)
        assert bench.gate(*accept) == 1
    found = capsys.readouterr()
    assert "bfloat16 is refused in 8 of the batch sizes and threads" in found.err
    assert "float32 is refused" not in found.err
    assert "times what is allowed" in found.err
    assert "calibrate_line" in found.err
    assert "Nothing is accepted" in found.out
    assert bench.content["passed"] is False
    refused = {mode["mode"] for mode in bench.content["modes"] if mode["refused"]}
    assert refused == {"bfloat16"}
    with pytest.raises(CalibrationError, match="bfloat16 is refused in 8 of"):
        load_calibration_for(*bench.model, "bfloat16")
    assert bench.gate("--accept") == 0
    assert load_calibration_for(*bench.model, "bfloat16")


def test_other_modes_stay_accepted(bench: Bench) -> None:
    pytest.importorskip("openvino", reason="needs the package openvino, which is optional")
    assert bench.gate("--accept", "--set", "model.device=openvino") == 0
    assert bench.gate("--accept", "--set", "model.device=cpu") == 0
    assert load_calibration_for(*bench.model, "openvino-bfloat16")


def test_a_device_without_the_calibrations_precision_can_accept_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stages.device._has_bfloat16", lambda _device: False)
    assert bench.gate("--accept") == 2
    error = capsys.readouterr().err
    assert "was made in bfloat16, and this device does not compute in it" in error
    assert "--parity --parts 60 --accept" in error
    assert bench.gate() == 0
    assert {mode["mode"] for mode in bench.content["modes"]} == {"float32"}


def test_parity_needs_a_calibration_and_both_verdicts(
    tiny_line: Path, tmp_path: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    uncalibrated = ["--config", str(tiny_line), "--set", f"calibration.folder={tmp_path}/none"]
    assert run(*uncalibrated, "--parity", "--parts", "2") == 3
    error = capsys.readouterr().err
    assert "calibrate_line" in error
    assert "reading" not in error
    assert bench.gate(parts=1) == 2
    assert "give more parts, good and defective ones" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (["--accept"], "--accept goes with --parity"),
        (["--parity", "--paradigm", "one_step"], "leave out --paradigm"),
        (["--parity", "--report", "report"], "leave out --paradigm, --report"),
        (["--parity", "--bundle", "a", "--bundle", "b"], "all but one --bundle"),
    ],
)
def test_what_does_not_go_together(
    tiny_line: Path, wrong: Sequence[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--config", tiny_line, "--parts", "2", *wrong) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "size", "more"),
    [
        ("cpu", 8, set()),
        ("cpu", 100, {100}),
        ("cuda", 8, set()),
        ("cuda", 100, {64, 100, 128}),
        ("cuda", 256, {64, 128, 256}),
    ],
)
def test_the_batches_of_the_line_are_compared_too(device: str, size: int, more: set[int]) -> None:
    assert set(batch_sizes(torch.device(device), size)) == {*BATCH_SIZES, *more}


def test_the_line_says_how_large_its_batches_are(bench: Bench) -> None:
    assert bench.gate("--set", "batch.size=33") == 0
    assert {mode["batch_size"] for mode in bench.content["modes"]} == {*BATCH_SIZES, 33}


def test_the_line_says_how_many_threads_it_has(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: {0, 1, 2})
    assert bench.gate("--set", "stages={segmentation: {threads: 3}}") == 0
    assert {mode["threads"] for mode in bench.content["modes"]} == {1, 3}


def test_modes_of_a_processor(tiny_line: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(tiny_line.parent / "bundle")
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: {0, 1, 2})
    for native, names in ((True, ["float32", "bfloat16"]), (False, ["float32"])):
        monkeypatch.setattr("stages.device._has_bfloat16", lambda _device, has=native: has)
        modes = modes_of(bundle, "cpu", "norm_guided")
        assert [mode.name for mode in modes] == names
        assert {mode.threads for mode in modes} == {(1, 2)}
    assert thread_counts(CPU, (3, 8)) == (1, 2, 3)
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: {0})
    assert thread_counts(CPU) == (1,)
    assert thread_counts(torch.device("cuda")) == (1,)
