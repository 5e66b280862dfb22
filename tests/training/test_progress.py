from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from training.progress import ProgressReporter
from training.trainer import StepReport
from training.validation import Figures


def report(step: int) -> StepReport:
    return StepReport(step, noise_loss=0.5, mask_loss=0.25, gradient_norm=1.0, learning_rate=1e-3)


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
    assert "noise 0.5000, mask 0.2500, 1:29 left" in shown[1]


def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with ProgressReporter(tmp_path, console) as reporter:
        reporter.stepped(report(1), 0.5, 60.0)

    assert "50 %" in out.getvalue()
    assert "1:00 left" in out.getvalue()


def test_steps_and_validations_are_logged(tmp_path: Path) -> None:
    console = Console(file=io.StringIO())
    with ProgressReporter(tmp_path, console) as reporter:
        for step in range(1, 41):
            reporter.stepped(report(step), step / 40, float(step))
        reporter.validated(40, Figures(0.9, 0.8, 0.7, {"crack": 0.6}), best=True)

    steps = lines_of(tmp_path)
    assert [entry["step"] for entry in steps] == [20, 40, 40]
    assert steps[0]["mask_loss"] == 0.25
    assert steps[2]["image_auroc"] == 0.9
    assert steps[2]["auroc_of_kind"] == {"crack": 0.6}


def test_a_loss_that_a_step_did_not_learn_from_stays_as_it_was(tmp_path: Path) -> None:
    out = io.StringIO()
    alone = StepReport(2, noise_loss=None, mask_loss=0.25, gradient_norm=1.0, learning_rate=1e-3)
    first = StepReport(1, noise_loss=0.5, mask_loss=None, gradient_norm=1.0, learning_rate=1e-3)
    with ProgressReporter(tmp_path, Console(file=out, width=120)) as reporter:
        reporter.stepped(first, 0.25, 20.0)
        reporter.stepped(alone, 0.5, 60.0)

    shown = out.getvalue().splitlines()
    assert "step 1, noise 0.5000, 1:00 left" in shown[0]
    assert "step 2, noise 0.5000, mask 0.2500, 1:00 left" in shown[1]
