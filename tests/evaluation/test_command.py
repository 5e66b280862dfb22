from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from calibration.command import main as calibrate
from evaluation.command import main
from evaluation.compare import compare
from stages.bundle import load_bundle, save_bundle
from stages.model_profiles import build_networks
from stages.reconstruction.paradigms import PARADIGMS

FIGURES = (
    "image_auroc",
    "image_ap",
    "pixel_auroc",
    "pixel_ap",
    "pro_30",
    "pro_5",
    "images_per_second",
)


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def another_bundle(tiny_line: Path, folder: Path, **changes: object) -> Path:
    """An untrained bundle like the line's, with other weights."""
    manifest = load_bundle(tiny_line.parent / "bundle").manifest
    torch.manual_seed(1)
    networks = build_networks(manifest.profile, manifest.channels)
    save_bundle(folder, manifest.model_copy(update=changes), *networks)
    return folder


def test_simulated_parts_before_and_after_calibration(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.json"
    line = ["--config", str(tiny_line), "--set", f"calibration.folder={tmp_path}/calibration"]
    assert run(*line, "--parts", "24", "--json", file) == 0
    assert "No verdicts" in capsys.readouterr().out
    assert json.loads(file.read_text())["verdicts"] is None
    with pytest.raises(SystemExit):
        calibrate([*line, "--parts", "20", "--false-reject-rate", "0.05"])
    assert run(*line, "--parts", "24", "--json", file) == 0
    content = json.loads(file.read_text())
    assert (content["verdicts"]["defective"], content["verdicts"]["good"]) == (12, 12)
    found = content["norm_guided"]
    assert len(found["per_type"]) == 6
    assert all(0 <= found["overall"][key] <= 1 for key in FIGURES[:-1])
    assert content["paradigms"] == {"norm_guided": found}
    assert "of 12 defective parts" in capsys.readouterr().out


def test_several_paradigms_are_scored_on_the_same_parts(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.json"
    names = ("one_step", "norm_guided", "one_step")
    wanted = [text for name in names for text in ("--paradigm", name)]
    assert run("--config", tiny_line, "--parts", "12", "--json", file, *wanted) == 0
    content = json.loads(file.read_text())
    assert list(content["paradigms"]) == ["one_step", "norm_guided"]
    for found in content["paradigms"].values():
        rows = [found["overall"], *found["per_type"].values()]
        assert len(rows) == 7
        assert all(row.keys() >= set(FIGURES) for row in rows)
    one_step, guided = content["paradigms"].values()
    assert one_step["overall"]["pixel_auroc"] != guided["overall"]["pixel_auroc"]
    assert run("--config", tiny_line, "--parts", "12", "--json", file) == 0
    alone = json.loads(file.read_text())["paradigms"]["norm_guided"]["overall"]
    assert {key: alone[key] for key in FIGURES[:-1]} == {
        key: guided["overall"][key] for key in FIGURES[:-1]
    }
    assert "paradigms" in capsys.readouterr().out


def test_verdicts_are_those_of_the_lines_own_paradigm(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--config", str(tiny_line), "--set", f"calibration.folder={tmp_path}/calibration"]
    with pytest.raises(SystemExit):
        calibrate([*line, "--parts", "20", "--false-reject-rate", "0.05"])
    capsys.readouterr()
    assert run(*line, "--parts", "12", "--paradigm", "one_step") == 0
    assert "the line's paradigm norm_guided was not evaluated" in capsys.readouterr().out
    assert run(*line, "--parts", "12", "--paradigm", "one_step", "--paradigm", "norm_guided") == 0
    assert "overkill" in capsys.readouterr().out
    assert run(*line, "--set", "reconstruction.paradigm=one_step", "--parts", "12") == 0
    out = capsys.readouterr().out
    assert "one_step: each kind of defect" in out
    assert "No verdicts" in out


@pytest.mark.parametrize(
    "wanted",
    [
        ("--paradigm", "one_step", "norm_guided"),
        ("--paradigm", "one_step", "--paradigm", "norm_guided"),
    ],
)
def test_paradigms_and_bundles_are_listed_or_repeated(
    tiny_line: Path, tmp_path: Path, wanted: tuple[str, ...]
) -> None:
    file, other = tmp_path / "out.json", another_bundle(tiny_line, tmp_path / "other")
    bundles = ("--bundle", tiny_line.parent / "bundle", other)
    assert run("--config", tiny_line, *wanted, *bundles, "--parts", "4", "--json", file) == 0
    content = json.loads(file.read_text())
    assert list(content["paradigms"]) == ["one_step", "norm_guided"]
    assert len(content["bundles"]) == 2


def test_ddim_is_evaluated_as_the_line_runs_it(tiny_line: Path, tmp_path: Path) -> None:
    ddim = ("--set", "reconstruction.paradigm=ddim", "--set", "reconstruction.ddim_steps=3")
    line = ("--config", tiny_line, "--parts", "8", *ddim)
    found = {}
    for eta in (0.0, 0.5):
        file = tmp_path / f"{eta}.json"
        assert run(*line, "--set", f"reconstruction.ddim_eta={eta}", "--json", file) == 0
        (figures,) = json.loads(file.read_text())["paradigms"].values()
        found[eta] = figures["overall"]["pixel_auroc"]
    assert found[0.0] != found[0.5]


def test_several_bundles_give_mean_and_deviation(tiny_line: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "out.json", another_bundle(tiny_line, tmp_path / "other")
    bundles = ["--bundle", tiny_line.parent / "bundle", "--bundle", other]
    assert run("--config", tiny_line, "--parts", "12", "--json", file, *bundles) == 0
    content = json.loads(file.read_text())
    assert len({bundle["id"] for bundle in content["bundles"]}) == 2
    own = [
        bundle["paradigms"]["norm_guided"]["overall"]["image_auroc"]
        for bundle in content["bundles"]
    ]
    found = content["paradigms"]["norm_guided"]
    assert own[0] != own[1]
    assert found["overall"]["image_auroc"] == pytest.approx(np.mean(own))
    deviation = found["standard_deviation"]["overall"]["image_auroc"]
    assert deviation == pytest.approx(np.std(own, ddof=1))


def test_a_report_of_two_paradigms(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "report"
    wanted = ["--paradigm", "one_step", "--paradigm", "norm_guided", "--report", folder]
    assert run("--config", tiny_line, "--parts", "12", *wanted) == 0
    assert f"Report: {folder}/report.html" in capsys.readouterr().out
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "Kinds of defects, norm_guided" in text
    assert "--paradigm one_step --paradigm norm_guided --report" in text
    assert len(list(folder.glob("case_*_hardest_*.png"))) == 6 + 3, "1 part a kind, 3 of 6 good"
    assert list(tmp_path.iterdir()) == [folder]


def write_part(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(20, 200, (128, 128), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)


def test_a_folder_in_the_mvtec_layout(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(4):
        write_part(tmp_path / f"test/good/{index}.png", index)
        write_part(tmp_path / f"test/scratch/{index}.png", 10 + index)
    (tmp_path / "test/scratch/broken.png").write_bytes(b"")
    (tmp_path / "test/dent").mkdir()
    (tmp_path / "test/dent/broken.png").write_bytes(b"")
    report = tmp_path / "report"
    assert run("--config", tiny_line, "--dataset", tmp_path, "--report", report) == 0
    out = capsys.readouterr().out
    assert "4 + 4" in out
    assert "2 images that could not be used:" in out
    assert "test/scratch/broken.png: " in out
    assert "test/scratch/0.png: no mask, looked for 0_mask.png" in out
    assert "No image of kind dent can be used" in out
    assert "No mask of kind scratch can be used" in out
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "No mask of kind scratch can be used" in page
    assert not (report / "pixels.png").exists()


def test_mistakes_end_with_their_exit_code(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--config", tiny_line, "--dataset", tmp_path) == 2
    assert "MVTec" in capsys.readouterr().err
    assert run("--config", tiny_line, "--parts", "2", "--bundle", tmp_path / "missing") == 3
    assert "train_line" in capsys.readouterr().err
    assert run("--config", tiny_line, "--parts", "2", "--at-most", "1") == 2
    assert "--dataset" in capsys.readouterr().err
    (tmp_path / "test/good").mkdir(parents=True)
    (tmp_path / "test/good/0.png").write_bytes(b"no image")
    assert run("--config", tiny_line, "--dataset", tmp_path) == 2
    assert "none of 1 images can be used; the first, test/good/0.png" in capsys.readouterr().err


def test_places_that_cannot_be_written_are_refused_before_the_work(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("")
    for option, place, text in (
        ("--json", tmp_path, "this is a folder"),
        ("--json", tmp_path / "missing/out.json", "there is no folder"),
        ("--report", tmp_path, "holds 'mine.txt'"),
        ("--report", tmp_path / "missing/report", "there is no folder"),
    ):
        assert run("--config", tiny_line, "--parts", "2", option, place) == 2
        found = capsys.readouterr()
        assert text in found.err
        assert "reading" not in found.err
        assert found.out == ""
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


def test_unknown_paradigms_are_told_the_names(
    tiny_line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--config", tiny_line, "--parts", "2", "--paradigm", "two_step") == 2
    error = capsys.readouterr().err
    assert "--paradigm two_step" in error
    assert all(name in error for name in (*PARADIGMS, "all"))


def test_a_bundle_that_does_not_fit_is_named(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tiny_line.parent / "bundle"
    other = another_bundle(tiny_line, tmp_path / "other", image_size_px=(32, 32))
    assert run("--config", tiny_line, "--parts", "2", "--bundle", own, "--bundle", other) == 3
    error = capsys.readouterr().err
    assert str(other) in error
    assert str(own) not in error
    assert run("--config", tiny_line, "--parts", "2", "--bundle", own, "--bundle", own) == 2
    assert "give each bundle once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"name": "grand"}, ("of the profile grand", "of tiny")),
        ({"top_k": 3}, ("of the profile tiny, with other sizes", "of tiny")),
    ],
)
def test_bundles_of_two_profiles_are_not_averaged(
    tiny_line: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    texts: tuple[str, ...],
) -> None:
    own = tiny_line.parent / "bundle"
    profile = replace(load_bundle(own).manifest.profile, **changes)
    other = another_bundle(tiny_line, tmp_path / "other", profile=profile)

    assert run("--config", tiny_line, "--parts", "2", "--bundle", own, other) == 2

    told = capsys.readouterr()
    assert all(text in told.err for text in (*texts, str(own), str(other)))
    assert told.out == ""


def test_a_paradigm_that_the_device_cannot_run_is_refused_before_the_others_run(
    tiny_line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino", reason="needs the package openvino, which is optional")
    line = ("--config", tiny_line, "--set", "model.device=openvino")

    assert run(*line, "--parts", "2", "--paradigm", "all") == 2

    told = capsys.readouterr()
    assert "paradigm iterative on device openvino: " in told.err
    assert "reading" not in told.err
    assert "evaluating" not in told.err


@pytest.mark.slow
def test_all_paradigms(tiny_line: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    assert run("--config", tiny_line, "--parts", "4", "--paradigm", "all", "--json", file) == 0
    assert list(json.loads(file.read_text())["paradigms"]) == list(PARADIGMS)


@pytest.mark.slow
def test_the_command_as_a_process(tiny_line: Path) -> None:
    command = [sys.executable, "-m", "evaluation.command", "--config", str(tiny_line)]
    done = subprocess.run(
        [*command, "--parts", "12"], capture_output=True, text=True, timeout=240, check=True
    )
    assert "norm_guided" in done.stdout
    assert "reading (12)" in done.stderr
    assert "norm_guided (12)" in done.stderr


def test_the_bundle_that_is_named_is_evaluated_in_place_of_the_recipes(
    tiny_line: Path, tmp_path: Path
) -> None:
    file, other = tmp_path / "out.json", another_bundle(tiny_line, tmp_path / "other")
    own = tiny_line.parent / "bundle"
    recipe = f"[{{name: b, bundle: {own}, calibration: {tmp_path}/b}}]"
    line = ("--config", tiny_line, "--set", f"recipes={recipe}", "--set", "recipe=b")
    assert run(*line, "--bundle", other, "--parts", "2", "--json", file) == 0
    assert json.loads(file.read_text())["bundle"] == load_bundle(other).id


def test_figures_inside_the_report_are_refused_before_the_work(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report"
    line = ("--config", tiny_line, "--parts", "2", "--report", report)
    assert run(*line, "--json", report) == 2
    assert "lies in the folder of --report" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lost", ["out.json", "report"])
def test_one_place_that_is_lost_costs_neither_the_other_nor_the_table(
    tiny_line: Path,
    tmp_path: Path,
    lost: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = {"out.json": tmp_path / "a" / "out.json", "report": tmp_path / "b" / "report"}
    for place in places.values():
        place.parent.mkdir()
    monkeypatch.setattr("evaluation.command.compare", after(compare, places[lost].parent.rmdir))
    options = ("--json", places["out.json"], "--report", places["report"])
    assert run("--config", tiny_line, "--parts", "4", *options) == 1
    told = capsys.readouterr()
    assert f"{places[lost]}: cannot be written" in told.err
    assert "norm_guided: each kind of defect" in told.out
    assert [place.exists() for name, place in places.items() if name != lost] == [True]


def after(work: Callable[..., Any], then: Callable[[], object]) -> Callable[..., Any]:
    def both(*arguments: Any, **options: Any) -> Any:
        found = work(*arguments, **options)
        then()
        return found

    return both


def test_the_files_are_written_before_a_table_that_nobody_reads(
    tiny_line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_arguments: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("evaluation.command.show", closed)
    file = tmp_path / "out.json"
    with pytest.raises(BrokenPipeError):
        main(["--config", str(tiny_line), "--parts", "2", "--json", str(file)])
    assert json.loads(file.read_text())["line"] == 3


def test_a_kind_whose_name_is_not_utf_8_is_evaluated(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, data = tmp_path / "plain", tmp_path / "data\udcdf"
    for kind in ("good", "rift"):
        write_part(plain / f"test/{kind}/0.png", 0)
    (plain / "test/rift").rename(plain / "test/ri\udcdf")
    plain.rename(data)
    file, report = tmp_path / "out.json", tmp_path / "report"
    line = ("--config", tiny_line, "--dataset", data)
    assert run(*line, "--json", file, "--report", report) == 0
    assert r"ri\xdf" in capsys.readouterr().out
    content = json.loads(file.read_text(encoding="utf-8"))
    assert list(content["norm_guided"]["per_type"]) == [r"ri\xdf"]
    assert r"data\xdf" in content["source"]
    assert r"ri\xdf" in (report / "report.html").read_text(encoding="utf-8")


def test_a_seed_draws_parts_and_no_data_set(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--config", tiny_line, "--dataset", tmp_path, "--seed", "1") == 2
    assert "--seed goes with --parts N" in capsys.readouterr().err
