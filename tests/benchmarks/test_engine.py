from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.eager import EagerEvaluation
from benchmarks.engine import HEAVY, checked_difference, main, plan_of
from benchmarks.engine_timing import Plan
from benchmarks.sizes import SIZES
from benchmarks.speed import count_operations
from benchmarks.untrained import drawn_images, norm_guided, untrained_bundle
from pipeline.errors import ConfigError, LineError
from stages.bundle import load_bundle
from stages.inspector import Inspector

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = ["--rounds", "2", "--repeats", "2", "--matrix", "128", "--device", "cpu"]


def test_every_row_says_what_was_measured_on_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "engine.json"
    asked = ["--profile", "tiny", "--batch", "1", "--batch", "3", "--input-px", "64"]

    assert main([*asked, *SHORT, "--json", str(report)]) == 0

    content = json.loads(report.read_text())
    (measured,) = content["measured"]
    eager, *engine = measured["rows"]
    assert content["device"] == "cpu"
    assert (measured["name"], measured["weights"]) == ("tiny", "random weights")
    assert measured["image"] == [64, 64, 3]
    assert measured["plan"] == {"batches": [1, 3], "rounds": 2, "repeats": 2}
    assert measured["difference"]["reconstruction"] <= measured["tolerance"]
    assert (eager["way"], eager["batch"], eager["dtype"]) == ("eager", 1, "float32")
    assert eager["x_eager"] == pytest.approx({"median": 1.0, "least": 1.0, "most": 1.0})
    assert [(row["way"], row["batch"]) for row in engine] == [("engine", 1), ("engine", 3)]
    for row in measured["rows"]:
        assert row["threads"] == 1
        assert row["memory_mb"] > 10
        assert 0 < row["batch_ms_p50"] <= row["batch_ms_p90"] <= row["batch_ms_p99"]
        ratio, share = row["x_eager"], row["of_limit"]
        assert 0 < ratio["least"] <= ratio["median"] <= ratio["most"]
        assert 0 < share["least"] <= share["median"] <= share["most"]
    peak, rate = measured["limit"]["median"], engine[1]["images_per_second"]["median"]
    assert engine[1]["of_limit"]["median"] == pytest.approx(
        measured["operations"] * rate / peak, rel=1.0
    )  # medians of ratios and of their parts differ, but by far less than a factor of two

    shown = capsys.readouterr().out
    assert "128 x 128 matrix product" in shown
    last = shown.splitlines()[-1].split()
    assert last[:6] == ["engine", "3", "cpu", content["dtype"], "1", f"{rate:.2f}"]


def test_the_networks_of_a_line_are_measured_too(
    tiny_line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "engine.json"

    assert main(["--config", str(tiny_line), "--batch", "2", *SHORT, "--json", str(report)]) == 0

    bundle = load_bundle(tiny_line.parent / "bundle")
    (measured,) = json.loads(report.read_text())["measured"]
    assert measured["weights"] == f"bundle {bundle.id}"
    assert measured["operations"] == count_operations(norm_guided(bundle))
    assert measured["image"] == [64, 64, 1]
    assert f"bundle {bundle.id}" in capsys.readouterr().out


def test_a_cpu_is_asked_for_few_images_of_large_networks() -> None:
    asked = argparse.Namespace(batch=[8, 1, 8], rounds=5, repeats=10)
    cpu, gpu = torch.device("cpu"), torch.device("cuda:0")
    assert plan_of(asked, HEAVY, cpu) == Plan((1,), 2, 1)
    assert plan_of(asked, HEAVY, gpu) == plan_of(asked, HEAVY - 1, cpu) == Plan((8, 1), 5, 10)
    asked.batch = None
    assert plan_of(asked, 1, cpu).batches == (1, 2, 4, 8, 16, 32)


def test_nothing_is_measured_where_engine_and_reference_disagree(tmp_path: Path) -> None:
    bundle = untrained_bundle(SIZES["tiny"], 64, tmp_path / "bundle")
    inspector, eager = Inspector(bundle, "cpu", "float32"), EagerEvaluation(bundle, "cpu")
    images = drawn_images(bundle, 1)
    assert checked_difference(inspector, eager, images, 1e-3).largest <= 1e-3
    with pytest.raises(LineError, match="disagree"):
        checked_difference(Inspector(bundle, "cpu", paradigm="one_step"), eager, images, 1e-3)


def test_untrained_networks_are_the_same_each_time_and_let_signals_through(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    bundle = untrained_bundle(SIZES["tiny"], 64, tmp_path / "one")
    assert untrained_bundle(SIZES["tiny"], 64, tmp_path / "two").id == bundle.id
    assert torch.equal(torch.get_rng_state(), before)
    images = drawn_images(bundle, 10)
    assert images.shape == (10, 64, 64, 3)
    np.testing.assert_array_equal(images[8:], images[:2])
    found = Inspector(bundle, "cpu", "float32").inspect(images[:2])
    assert found.reconstructions.std() > 0.2
    assert found.anomaly_maps.max() > 1.5 * found.anomaly_maps.min()
    with pytest.raises(ConfigError, match="multiples of 32"):
        untrained_bundle(SIZES["tiny"], 48, tmp_path / "odd")


def test_a_run_is_compared_with_an_earlier_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "engine.json"
    asked = ["--profile", "tiny", "--batch", "2", "--input-px", "64", *SHORT]
    assert main([*asked, "--json", str(report)]) == 0
    content = json.loads(report.read_text())
    row = content["measured"][0]["rows"][1]
    name = f"tiny, cpu {row['dtype']}, batch 2: "
    assert content["ratios"] == {
        f"{name}x eager": row["x_eager"],
        f"{name}of limit": row["of_limit"],
    }
    content["ratios"] = {f"{name}x eager": {"median": 1e3, "least": 1e3, "most": 1e3}}
    report.write_text(json.dumps(content))
    capsys.readouterr()
    assert main([*asked, "--against", str(report)]) == 1
    shown = capsys.readouterr()
    assert f"{name}x eager" in shown.out
    assert f"{name}of limit" not in shown.out, "the earlier run does not have it"
    assert "from the earlier run, more than 10 %" in shown.err


def test_mistakes_are_said_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, text in (
        (["--profile", "tiny", "--input-px", "100"], "multiples of 32"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--json", str(tmp_path / "missing" / "out.json")], "there is no folder"),
        (["--against", str(tmp_path / "none.json")], "not figures of an earlier run"),
    ):
        assert main(wrong) == 2
        assert text in capsys.readouterr().err
    for wrong in (["--line", "3", "--profile", "tiny"], ["--profile", "huge"], ["--batch", "0"]):
        with pytest.raises(SystemExit):
            main(wrong)


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device; see docs/gpu-checklist.md"
)
def test_a_gpu_tells_its_copies_and_idle_time(tmp_path: Path) -> None:
    report = tmp_path / "engine.json"
    asked = ["--profile", "tiny", "--batch", "4", "--input-px", "64", "--device", "cuda:0"]
    assert main([*asked, "--rounds", "2", "--repeats", "4", "--json", str(report)]) == 0
    (measured,) = json.loads(report.read_text())["measured"]
    eager, engine = measured["rows"]
    assert eager["gpu"] is None
    assert engine["gpu"]["compute_ms"] > 0
    assert engine["gpu"]["copy_ms"] > 0
    assert 0 <= engine["gpu"]["hidden"] <= 1
    assert 0 <= engine["gpu_idle"] <= 1
    assert measured["gpus"]
