from __future__ import annotations

import json
from io import StringIO

from rich.console import Console

from calibration.images import SkippedPart
from evaluation.evaluate import Metrics, VerdictCounts
from evaluation.report import Evaluation, as_json, show

KEYS = {"image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "pro_30", "pro_5"}


def evaluation(verdicts: VerdictCounts | None) -> Evaluation:
    metrics = Metrics(190, 103, 289, 0.91234, 0.8, 0.97, None, 0.85, 0.5)
    return Evaluation(
        line=1,
        source="folder /tiles [small]",
        bundle_id="abc",
        paradigm="norm_guided",
        device="cpu",
        dtype="bfloat16",
        batch_size=8,
        overall=metrics,
        per_type={"uneven": metrics},
        images_per_second=21.5,
        skipped=tuple(SkippedPart(f"bad_{i}.png", "not an image") for i in range(12)),
        mask_faults=(SkippedPart("test/uneven/1.jpg", "mask 1_mask.png is empty"),),
        verdicts=verdicts,
        verdicts_missing="" if verdicts else "the line has no calibration yet",
    )


COUNTS = VerdictCounts(0.031, "cal1", defective=103, escapes=7, good=190, overkill=2)


def shown(found: Evaluation) -> str:
    console = Console(file=StringIO(), width=100)
    show(found, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_json_has_every_figure_and_null_for_what_is_not_defined() -> None:
    content = json.loads(as_json(evaluation(COUNTS)))
    overall = content["norm_guided"]["overall"]
    assert overall.keys() >= KEYS | {"images_per_second"}
    assert overall["image_auroc"] == 0.91234
    assert overall["pixel_ap"] is None
    assert overall["images_per_second"] == 21.5
    assert content["norm_guided"]["per_type"]["uneven"].keys() >= KEYS
    assert content["verdicts"]["escapes"] == 7
    assert len(content["skipped"]) == 12
    assert content["without_mask"] == [
        {"name": "test/uneven/1.jpg", "why": "mask 1_mask.png is empty"}
    ]


def test_table_for_people() -> None:
    text = shown(evaluation(COUNTS))
    assert "folder /tiles [small]" in text
    assert "190 + 103" in text
    assert "0.9123" in text
    assert "21.5 images/s" in text
    assert "7 escapes of 103 defective parts, overkill 2 of 190 good parts" in text
    assert "12 images that could not be used:" in text
    assert "and 2 more" in text
    assert "test/uneven/1.jpg: mask 1_mask.png is empty" in text


def test_without_calibration_it_says_why() -> None:
    found = evaluation(None)
    assert "No verdicts: the line has no calibration yet" in shown(found)
    assert json.loads(as_json(found))["verdicts"] is None
