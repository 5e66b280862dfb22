from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.profiles import main
from stages.bundle import load_bundle

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_sizes_are_compared_on_a_data_set(
    dataset: Path, short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, kept = tmp_path / "profiles.json", tmp_path / "kept"
    images = ["--dataset", str(dataset), "--colour", "grey", "--sizes", "compact,tiny"]
    files = ["--repeats", "3", "--keep", str(kept), "--json", str(report)]

    assert main([*images, *short, *files]) == 0

    content = json.loads(report.read_text())
    tiny, compact = content["sizes"]["tiny"], content["sizes"]["compact"]
    assert tiny["parameters"] < compact["parameters"]
    assert tiny["gflop"] < compact["gflop"]
    assert tiny["bundle_bytes"] < compact["bundle_bytes"]
    assert set(tiny["per_type"]) == {"crack", "scratch"}
    assert (content["training_images"], content["batch_size"], content["steps"]) == (26, 8, 2)
    assert content["device"] == "cpu"
    bundle = load_bundle(kept / "tiny_seed_0")
    assert bundle.manifest.profile.name == "tiny"
    assert bundle.id == tiny["trainings"][0]["bundle"]

    lines = capsys.readouterr().out.splitlines()
    header = next(place for place, line in enumerate(lines) if line.startswith("size "))
    rows = {line.split()[0]: line.split() for line in lines[header + 1 :]}
    rate = tiny["engine"]["images_per_second"]
    ratio = rate / compact["engine"]["images_per_second"]
    assert set(rows) == {"compact", "tiny"}
    assert rows["tiny"][7] == f"{rate:.1f}"
    assert rows["tiny"][10] == f"{ratio:.2f}"
    assert rows["compact"][4] == f"{compact['overall']['image_auroc']:.4f}"
    assert rows["compact"][10] == "1.00"


@pytest.mark.slow
def test_several_seeds_give_a_deviation(
    short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "profiles.json"
    images = ["--product", "brushed_metal", "--parts", "24", "--test-parts", "12"]
    sizes = ["--sizes", "tiny", "--seeds", "2", "--repeats", "1", "--json", str(report)]

    assert main([*images, *short, *sizes]) == 0

    tiny = json.loads(report.read_text())["sizes"]["tiny"]
    first, second = (run["overall"]["image_auroc"] for run in tiny["trainings"])
    assert tiny["overall"]["image_auroc"] == pytest.approx((first + second) / 2)
    assert tiny["standard_deviation"]["overall"]["image_auroc"] >= 0
    assert len({run["bundle"] for run in tiny["trainings"]}) == 2
    shown = capsys.readouterr().out
    assert "2 times 2 steps" in shown
    assert "±" in shown


def test_mistakes_are_said_before_the_work(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--dataset", str(dataset), "--steps", "1"]
    for wrong, text in (
        (["--set", "widht=3"], "widht"),
        (["--json", str(tmp_path / "missing" / "out.json")], "there is no folder"),
    ):
        assert main([*given, *wrong]) == 2
        assert text in capsys.readouterr().err
    assert main(["--dataset", str(tmp_path), "--steps", "1"]) == 2
    assert "MVTec" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*given, "--sizes", "huge"])
    assert "'huge': choose of tiny" in capsys.readouterr().err
