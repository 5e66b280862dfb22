"""How a training goes: a bar with the time left on a terminal, plain lines elsewhere, and a log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from training.checkpoint import writing
from training.report import Phase, StepReport
from training.validation import Figures

LOG_FILE = "training.jsonl"
LINE_EVERY_S = 30.0
LOG_EVERY_STEPS = 20
SMOOTHING = 0.97


class ProgressReporter:
    """Shows and records steps, validations and checkpoints; the log is `training.jsonl` in
    `folder`. Raises TrainingError where the log cannot be written.
    """

    def __init__(self, folder: Path, console: Console) -> None:
        self._log = folder / LOG_FILE
        self._console = console
        self._bar = _bar(console) if console.is_terminal else None
        self._task = self._bar.add_task("", total=1.0) if self._bar else None
        self._noise: float | None = None
        self._mask: float | None = None
        self._painting = PaintingShare()
        self._shown_s = float("-inf")

    def __enter__(self) -> ProgressReporter:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def began(self, step: int, processes: int) -> None:
        """A new log at step 0; after a resume, the old one as far as this training goes on from.

        `processes` train together.
        """
        if processes > 1:
            self._console.print(f"{processes} processes train together", highlight=False)
        kept = _entries_until(step, self._log) if step > 0 else []
        with writing(self._log):
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._log.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._append({"step": step, "processes": processes})

    def stepped(self, report: StepReport, progress: float, elapsed_s: float) -> None:
        """Show the smoothed losses, the share of painting and the time left; log every 20th step.

        The share is that of the present phase, from its first step.
        """
        self._noise = _smoothed(self._noise, report.noise_loss)
        self._mask = _smoothed(self._mask, report.mask_loss)
        self._painting.add(report)
        left_s = elapsed_s * (1.0 - progress) / max(progress, 1e-6)
        losses = {"noise": self._noise, "mask": self._mask}
        shown = [f"{name} {value:.4f}" for name, value in losses.items() if value is not None]
        shown.append(f"painting {100.0 * self._painting.share:.0f} %")
        text = ", ".join([f"step {report.step}", *shown, f"{_minutes(left_s)} left"])
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=progress, description=text)
        elif elapsed_s - self._shown_s >= LINE_EVERY_S:
            self._console.print(f"{progress:6.1%}  {text}", highlight=False)
            self._shown_s = elapsed_s
        if report.step % LOG_EVERY_STEPS == 0:
            learnt = {f"{name}_loss": value for name, value in losses.items() if value is not None}
            rate = {"learning_rate": report.learning_rate, "elapsed_s": round(elapsed_s, 1)}
            share = {"phase": report.phase, "painting_share": round(self._painting.share, 4)}
            self._append({"step": report.step, **learnt, **rate, **share})

    def validated(self, step: int, figures: Figures, best: bool) -> None:
        """Show and log the figures of one validation."""
        kinds = ", ".join(f"{kind} {value:.2f}" for kind, value in figures.auroc_of_kind.items())
        self._console.print(
            f"validation at step {step}: image AUROC {figures.image_auroc:.4f}, "
            f"pixel AP {figures.pixel_ap:.3f}{' (best so far)' if best else ''} [{kinds}]",
            highlight=False,
            markup=False,
        )
        of_kind = {kind: round(value, 4) for kind, value in figures.auroc_of_kind.items()}
        self._append({"step": step, **figures.as_mapping(), "auroc_of_kind": of_kind})

    def saved(self, step: int, size_bytes: int) -> None:
        """Log the size of a checkpoint."""
        self._append({"step": step, "checkpoint_mb": round(size_bytes / 1e6, 1)})

    def _append(self, entry: dict[str, Any]) -> None:
        with writing(self._log), self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")


class PaintingShare:
    """The share of the time of the steps of one phase that they waited for their images."""

    def __init__(self) -> None:
        self._phase: Phase | None = None
        self._painting_s = self._steps_s = 0.0

    @property
    def share(self) -> float:
        """0 to 1; 0 before the first step."""
        return self._painting_s / self._steps_s if self._steps_s > 0.0 else 0.0

    def add(self, report: StepReport) -> None:
        """One more step; the first of another phase begins anew."""
        if report.phase is not self._phase:
            self._phase, self._painting_s, self._steps_s = report.phase, 0.0, 0.0
        self._painting_s += report.painting_s
        self._steps_s += report.step_s


def _entries_until(step: int, log: Path) -> list[str]:
    """The lines of a log up to a step; what a killed training wrote after it, or only half of a
    line, is left out.
    """
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [line for line in lines if _step_of(line) <= step]


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _bar(console: Console) -> Progress:
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    return Progress(*columns, TextColumn("{task.description}"), console=console)


def _smoothed(before: float | None, value: float | None) -> float | None:
    """What a step did not learn from stays as it was."""
    if before is None or value is None:
        return before if value is None else value
    return SMOOTHING * before + (1.0 - SMOOTHING) * value


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
