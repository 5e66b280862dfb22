from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO

from rich.console import Console

from evaluation.report import as_json, show
from evaluation.results import Evaluation

KEYS = {
    "image_auroc",
    "image_ap",
    "pixel_auroc",
    "pixel_ap",
    "pro_30",
    "pro_5",
    "images_per_second",
}


def shown(found: Evaluation) -> str:
    console = Console(file=StringIO(), width=120)
    show(found, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_json_has_every_figure_and_null_for_what_is_not_defined(make_evaluation) -> None:
    content = json.loads(as_json(make_evaluation()))
    found = content["paradigms"]["norm_guided"]
    assert found["overall"].keys() >= KEYS
    assert found["per_type"]["<uneven>"].keys() >= KEYS
    assert found["overall"]["image_auroc"] == 0.91234
    assert found["overall"]["pixel_ap"] is None
    assert found["overall"]["images_per_second"] == 21.5
    assert "standard_deviation" not in found
    assert content["norm_guided"] == found, "a paradigm's figures are under its own name too"
    assert (content["bundle"], content["line"]) == ("abc0", 1)
    assert content["created"] == "2026-11-22T12:30:00+00:00"
    assert content["verdicts"]["escapes"] == 7
    assert len(content["skipped"]) == 12
    assert content["without_mask"] == [
        {"name": "test/uneven/1.jpg", "why": "mask 1_mask.png is empty"}
    ]
    assert content["faults"][2] == "no image of kind dent can be used: it is in no table"


def test_json_of_several_bundles_has_the_mean_and_each_ones_own_figures(make_evaluation) -> None:
    content = json.loads(as_json(make_evaluation(bundles=3)))
    found = content["paradigms"]["norm_guided"]
    assert round(found["overall"]["image_auroc"], 9) == 0.93234
    assert round(found["standard_deviation"]["overall"]["image_auroc"], 9) == 0.02
    assert found["standard_deviation"]["per_type"]["<uneven>"]["pixel_ap"] is None
    assert content["bundle"] is None
    own = {entry["id"]: entry["paradigms"]["norm_guided"] for entry in content["bundles"]}
    assert [round(of["overall"]["image_auroc"], 5) for of in own.values()] == [
        0.91234,
        0.93234,
        0.95234,
    ]
    assert list(own) == ["abc0", "abc1", "abc2"]


def test_table_for_people(make_evaluation) -> None:
    text = shown(make_evaluation())
    assert "folder /tiles [small]" in text
    assert "190 + 103" in text
    assert "0.9123" in text
    assert "21.5 images/s" in text
    assert "a processor, 2 threads" in text
    assert "escapes 7 of 103 defective parts, overkill 2 of 190 good parts" in text
    assert "12 images that could not be used:" in text
    assert "and 2 more" in text
    assert "test/uneven/1.jpg: mask 1_mask.png is empty" in text
    assert "No image of kind dent can be used" in text


def test_a_table_of_paradigms_and_spread_over_bundles(make_evaluation) -> None:
    text = shown(make_evaluation(bundles=3, paradigms=("one_step", "norm_guided")))
    ablation, kinds = text.split("each kind of defect", 1)
    assert "one_step" in ablation
    assert "norm_guided" in ablation
    assert "0.932 ± 0.020" in ablation
    assert "21.500 ± 0.000" not in ablation, "a rate has three significant digits"
    assert "mean ± standard deviation of 3 bundles" in kinds


def test_without_calibration_it_says_why(make_evaluation) -> None:
    found = make_evaluation(counts=None)
    assert "No verdicts of bundle abc0: the line has no calibration yet" in shown(found)
    assert json.loads(as_json(found))["verdicts"] is None


def test_the_tables_show_whole_names(make_evaluation) -> None:
    kind = "blowholes_of_a_casting_that_cooled_too_fast"
    found = make_evaluation(paradigms=("norm_guided", "iterative"))
    figures = found.bundles[0].paradigms["norm_guided"]
    named = replace(figures, per_type={kind: figures.overall})
    bundle = replace(found.bundles[0], paradigms=dict.fromkeys(found.paradigms, named))
    console = Console(file=StringIO(), width=80)
    show(replace(found, bundles=(bundle,)), console)
    text = console.file.getvalue()
    assert "…" not in text
    rows = [line.split("│")[1].strip() for line in text.splitlines() if line.count("│") == 9]
    assert kind in "".join(rows)
