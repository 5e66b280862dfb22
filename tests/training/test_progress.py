from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from full_disk import full_disk
from pipeline.errors import TrainingError
from training.progress import ProgressReporter
from training.report import Phase, StepReport
from training.validation import Figures

REPORT = StepReport(
    1,
    Phase.JOINT,
    noise_loss=0.5,
    mask_loss=0.25,
    gradient_norm=1.0,
    learning_rate=1e-3,
    painting_s=0.0,
    step_s=1.0,
)


def report(step: int, **changes: Any) -> StepReport:
    return replace(REPORT, step=step, **changes)


def lines_of(folder: Path) -> list[dict[str, float]]:
    text = (folder / "training.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_plain_lines_come_every_half_minute_with_the_time_left(tmp_path: Path) -> None:
    out = io.StringIO()
    with ProgressReporter(tmp_path, Console(file=out, width=120)) as reporter:
        for step, elapsed_s in enumerate((1.0, 10.0, 30.0, 31.0, 62.0), start=1):
            reporter.stepped(report(step), elapsed_s / 120, elapsed_s)

    shown = out.getvalue().splitlines()
    assert [line.split("step ")[1].split(",")[0] for line in shown] == ["1", "4", "5"]
    assert "noise 0.5000, mask 0.2500, painting 0 %, 1:29 left" in shown[1]


def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with ProgressReporter(tmp_path, console) as reporter:
        reporter.stepped(report(1), 0.5, 60.0)

    assert "50 %" in out.getvalue()
    assert "1:00 left" in out.getvalue()


def test_steps_and_validations_are_logged(tmp_path: Path) -> None:
    console = Console(file=io.StringIO())
    with ProgressReporter(tmp_path / "new", console) as reporter:
        reporter.began(0, processes=2)
        for step in range(1, 41):
            reporter.stepped(report(step), step / 40, float(step))
        reporter.validated(40, Figures(0.9, 0.8, 0.7, {"crack": 0.6}), best=True)
        reporter.saved(40, 91_234_567)

    began, *steps = lines_of(tmp_path / "new")
    assert began == {"step": 0, "processes": 2}
    assert [entry["step"] for entry in steps] == [20, 40, 40, 40]
    assert steps[0]["mask_loss"] == 0.25
    assert steps[2]["image_auroc"] == 0.9
    assert steps[2]["auroc_of_kind"] == {"crack": 0.6}
    assert steps[3]["checkpoint_mb"] == 91.2


def test_the_share_of_painting_is_that_of_the_phase(tmp_path: Path) -> None:
    out = io.StringIO()
    joint = {"painting_s": 0.1, "step_s": 0.5}
    with ProgressReporter(tmp_path, Console(file=out, width=120)) as reporter:
        for step in range(1, 21):
            reporter.stepped(report(step, **joint), step / 40, 10.0 * step)
        for step in range(21, 41):
            entries = joint if step % 2 else {"painting_s": 0.0, "step_s": 0.3}
            alone = report(step, phase=Phase.SEGMENTATION, **entries)
            reporter.stepped(alone, step / 40, 10.0 * step)

    shown = out.getvalue().splitlines()
    assert "painting 20 %" in shown[0]
    assert "painting 12 %" in shown[-1]  # 0.1 s of 0.8 s
    shares = [(entry["phase"], entry["painting_share"]) for entry in lines_of(tmp_path)]
    assert shares == [("joint", 0.2), ("segmentation", 0.125)]


def test_a_resumed_log_goes_on_where_the_training_does(tmp_path: Path) -> None:
    log, console = tmp_path / "training.jsonl", Console(file=io.StringIO())
    log.write_text('{"step": 20}\n{"step": 40, "noise_loss": 1}\n{"step": 60}\n{"step": 80, "no')

    with ProgressReporter(tmp_path, console) as reporter:
        reporter.began(40, processes=1)

    assert [entry["step"] for entry in lines_of(tmp_path)] == [20, 40, 40]


def test_a_new_training_begins_a_new_log(tmp_path: Path) -> None:
    (tmp_path / "training.jsonl").write_text('{"step": 0, "processes": 1}\n{"step": 20}\n')

    with ProgressReporter(tmp_path, Console(file=io.StringIO())) as reporter:
        reporter.began(0, processes=1)

    assert lines_of(tmp_path) == [{"step": 0, "processes": 1}]


def test_a_full_disk_is_told_in_words(
    tmp_path: Path,
) -> None:
    with (
        ProgressReporter(tmp_path, Console(file=io.StringIO())) as reporter,
        full_disk(10),
        pytest.raises(TrainingError, match=r"training\.jsonl cannot be written.*--resume"),
    ):
        reporter.stepped(report(20), 0.5, 1.0)


def test_a_loss_that_a_step_did_not_learn_from_stays_as_it_was(tmp_path: Path) -> None:
    out = io.StringIO()
    first, alone = report(1, mask_loss=None), report(2, noise_loss=None)
    with ProgressReporter(tmp_path, Console(file=out, width=120)) as reporter:
        reporter.stepped(first, 0.25, 20.0)
        reporter.stepped(alone, 0.5, 60.0)

    shown = out.getvalue().splitlines()
    assert "step 1, noise 0.5000, painting 0 %, 1:00 left" in shown[0]
    assert "step 2, noise 0.5000, mask 0.2500, painting 0 %, 1:00 left" in shown[1]
