from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import InputError, TrainingError
from training.augment import ViewSource
from training.checkpoint import load_checkpoint
from training.loop import Loop, Surroundings
from training.report import StepReport
from training.settings import TrainingSettings
from training.synthesis import Synthesizer
from training.trainer import Trainer
from training.validation import Figures


class Clock:
    """Each reading is some seconds after the one before."""

    def __init__(self, tick_s: float) -> None:
        self.now_s, self.tick_s = 100.0, tick_s

    def __call__(self) -> float:
        self.now_s += self.tick_s
        return self.now_s


class Records:
    """A reporter that keeps what it is told and can act after a step."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.validations: list[tuple[int, bool]] = []
        self.saves: list[tuple[int, int]] = []
        self.after: dict[int, object] = {}

    def stepped(self, report: StepReport, progress: float, elapsed_s: float) -> None:
        self.steps.append(report.step)
        if action := self.after.get(report.step):
            action()  # type: ignore[operator]

    def validated(self, step: int, figures: Figures, best: bool) -> None:
        self.validations.append((step, best))

    def saved(self, step: int, size_bytes: int) -> None:
        self.saves.append((step, size_bytes))


class Rig:
    """A loop over a tiny trainer, with merits that are given out one after another."""

    def __init__(
        self,
        normals: np.ndarray,
        folder: Path,
        merits: tuple[float, ...] = (0.5, 0.9, 0.7, 0.6, 0.5),
        tick_s: float = 0.0,
        images: str = "some",
        **changes: object,
    ) -> None:
        plain = {"profile": "tiny", "crop_px": 32, "device": "cpu", "warm_up_steps": 2}
        settings = TrainingSettings.model_validate(plain | changes)
        self.trainer = Trainer(
            ViewSource(normals, settings), Synthesizer(), settings, 1, torch.device("cpu")
        )
        self.records, self._merits = Records(), iter(merits)
        self.while_validating: Callable[[], None] = lambda: None
        told = {"images": images, "seed": "0"}
        surroundings = Surroundings(folder, told, self._validate, self.records, Clock(tick_s))
        self.loop = Loop(self.trainer, settings, surroundings)

    def _validate(self) -> Figures:
        self.while_validating()
        merit = next(self._merits)
        return Figures(merit, merit, merit, {"scratch": merit})

    def weights(self) -> torch.Tensor:
        networks = (self.trainer.unet, self.trainer.segmentation, *self.trainer.averaged())
        return torch.cat([p.detach().flatten() for n in networks for p in n.parameters()])


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def _tiny(tiny_profile: str) -> None:
    """Every loop here trains the tiny profile."""


def test_a_budget_of_steps_is_kept_exactly(normals: np.ndarray, tmp_path: Path) -> None:
    rig = Rig(normals, tmp_path, steps=5)

    assert rig.loop.run()

    assert rig.records.steps == [1, 2, 3, 4, 5]
    assert rig.loop.progress == 1.0
    assert load_checkpoint(tmp_path / "checkpoint.pt")["trainer"]["step"] == 5


def test_a_budget_of_minutes_ends_by_the_clock(normals: np.ndarray, tmp_path: Path) -> None:
    rig = Rig(normals, tmp_path, tick_s=5.0, minutes=1, validation_minutes=9, checkpoint_minutes=9)

    assert rig.loop.run()

    assert 5 <= len(rig.records.steps) <= 7  # two readings of 5 s a step
    assert rig.loop.elapsed_s >= 60.0


def test_validation_keeps_the_best_weights(normals: np.ndarray, tmp_path: Path) -> None:
    rig = Rig(normals, tmp_path, tick_s=15.0, minutes=9, validation_minutes=0.5)

    rig.loop.run()

    assert [best for _, best in rig.records.validations][:3] == [True, True, False]
    assert rig.loop.best is not None
    assert rig.loop.best.figures.image_auroc == 0.9
    assert rig.loop.best.step == rig.records.validations[1][0]


def test_a_slow_validation_comes_less_often(normals: np.ndarray, tmp_path: Path) -> None:
    rig = Rig(normals, tmp_path, tick_s=15.0, minutes=9, validation_minutes=0.1)

    rig.loop.run()

    steps = [step for step, _ in rig.records.validations]
    assert len(steps) >= 3
    assert min(np.diff(steps[:-1])) >= 4  # 10 times 15 s, at 30 s a step


def test_the_best_weights_survive_a_resume(normals: np.ndarray, tmp_path: Path) -> None:
    first = Rig(normals, tmp_path, merits=(0.95,), steps=2)
    first.loop.run()
    second = Rig(normals, tmp_path, merits=(0.6,), steps=4)
    second.loop.resume()
    second.loop.run()

    assert second.loop.best is not None
    assert second.loop.best.step == 2
    assert second.loop.best.figures.auroc_of_kind == {"scratch": 0.95}
    assert first.loop.best is not None
    for name, tensor in first.loop.best.unet.items():
        assert torch.equal(second.loop.best.unet[name], tensor)


def test_an_interrupt_stops_after_the_step_with_a_checkpoint(
    normals: np.ndarray, tmp_path: Path
) -> None:
    rig = Rig(normals, tmp_path, steps=50)
    rig.records.after[2] = interrupt
    before = signal.getsignal(signal.SIGINT)

    assert not rig.loop.run()

    assert rig.records.steps == [1, 2]
    assert load_checkpoint(tmp_path / "checkpoint.pt")["trainer"]["step"] == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_last_validation_is_made_up_for_without_another_step(
    normals: np.ndarray, tmp_path: Path
) -> None:
    straight = Rig(normals, tmp_path / "straight", steps=3)
    straight.loop.run()
    rig, again = (Rig(normals, tmp_path / "stopped", steps=3) for _ in range(2))
    rig.while_validating = interrupt
    with pytest.raises(KeyboardInterrupt):
        rig.loop.run()

    again.loop.resume()
    assert again.loop.run()

    assert again.records.steps == []
    assert again.records.validations == straight.records.validations == [(3, True)]
    assert torch.equal(again.weights(), straight.weights())


def test_a_training_that_begins_sets_the_checkpoint_of_another_aside(
    normals: np.ndarray, tmp_path: Path
) -> None:
    Rig(normals, tmp_path, steps=2).loop.run()
    new, resumed = (Rig(normals, tmp_path, steps=2) for _ in range(2))

    new.loop.begin()

    with pytest.raises(InputError, match=r"no checkpoint.*without --resume"):
        resumed.loop.resume()
    assert load_checkpoint(tmp_path / "checkpoint.pt.before")["trainer"]["step"] == 2


@pytest.mark.parametrize(
    ("checkpoint_minutes", "message"),
    [(1.0, r"after step 4 unet\.stem\.weight is not finite"), (9.0, "step 5 .*noise loss nan")],
)
def test_weights_that_are_not_finite_never_reach_the_checkpoint(
    normals: np.ndarray, tmp_path: Path, checkpoint_minutes: float, message: str
) -> None:
    first = Rig(normals, tmp_path, steps=2, joint_share=1.0)
    first.loop.run()
    changes = {"steps": 9, "tick_s": 31.0, "checkpoint_minutes": checkpoint_minutes}
    rig = Rig(normals, tmp_path, joint_share=1.0, **changes)
    rig.loop.resume()

    def spoil() -> None:
        with torch.no_grad():
            rig.trainer.unet.stem.weight.fill_(float("nan"))

    rig.records.after[4] = spoil
    with pytest.raises(TrainingError, match=message):
        rig.loop.run()

    kept = load_checkpoint(tmp_path / "checkpoint.pt")["trainer"]
    assert kept["step"] == (3 if checkpoint_minutes == 1.0 else 2)
    assert all(bool(t.isfinite().all()) for t in kept["networks"]["unet"].values())


def test_a_checkpoint_of_another_training_is_refused(normals: np.ndarray, tmp_path: Path) -> None:
    Rig(normals, tmp_path, steps=1).loop.run()
    other = Rig(normals, tmp_path, steps=1, images="others")

    with pytest.raises(InputError, match=r"another training: images some; this one has: images o"):
        other.loop.resume()


def test_with_a_budget_of_steps_the_clock_does_not_decide_when_to_validate(
    normals: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loop.STEPS_BETWEEN", 2)
    rigs = [
        Rig(normals, tmp_path / f"{tick_s}", tick_s=tick_s, steps=6, validation_minutes=1)
        for tick_s in (0.0, 45.0)
    ]
    for rig in rigs:
        assert rig.loop.run()

    assert [rig.records.validations for rig in rigs] == [[(2, True), (4, True), (6, False)]] * 2


def test_a_finished_training_that_is_resumed_only_hands_out_its_weights(
    normals: np.ndarray, tmp_path: Path
) -> None:
    first = Rig(normals, tmp_path, steps=2)
    first.loop.run()
    written = (tmp_path / "checkpoint.pt").stat()
    again = Rig(normals, tmp_path, merits=(), steps=2)
    again.loop.resume()

    assert again.loop.run()

    assert again.records.steps == again.records.saves == []
    kept = (tmp_path / "checkpoint.pt").stat()
    assert (kept.st_ino, kept.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    assert again.loop.best is not None
    assert first.records.saves[-1] == (2, written.st_size)
