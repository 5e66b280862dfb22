"""A training that is stopped anywhere and resumed from its file ends with the very same weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.model_profiles import PROFILES, ModelProfile
from training.augment import ViewSource
from training.loop import Best, Loop, Surroundings
from training.report import Phase, StepReport
from training.settings import TrainingSettings
from training.synthesis import Synthesizer
from training.trainer import Trainer
from training.validation import Figures

STEPS = 20
SETTINGS = {
    "profile": "tiny",
    "steps": STEPS,
    "crop_px": 32,
    "device": "cpu",
    "warm_up_steps": 2,
    "reconstruction_share": 0.2,
    "joint_share": 0.4,
    "pool_images": 8,
    "pool_refresh": 0.5,
    "pool_whole_share": 0.3,
}


class Stopping:
    """A reporter that notes the phases and stops the loop after a step."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self.loop: Loop | None = None
        self.stop_after = 0

    def stepped(self, report: StepReport, progress: float, elapsed_s: float) -> None:
        self.phases.append(report.phase)
        if self.loop is not None and report.step == self.stop_after:
            self.loop.stop()

    def validated(self, step: int, figures: Figures, best: bool) -> None:
        """Nothing to note."""

    def saved(self, step: int, size_bytes: int) -> None:
        """Nothing to note."""


class Run:
    """A loop over a tiny trainer through all phases; its merit goes up and down with the step."""

    def __init__(self, normals: np.ndarray, folder: Path, stop_after: int = 0) -> None:
        settings = TrainingSettings.model_validate(SETTINGS)
        source, device = ViewSource(normals, settings), torch.device("cpu")
        self.trainer = Trainer(source, Synthesizer(), settings, 1, device)
        self.reporter = Stopping()
        surroundings = Surroundings(
            folder, {"profile": "tiny"}, self._judge, self.reporter, lambda: 0.0
        )
        self.loop = Loop(self.trainer, settings, surroundings)
        self.reporter.loop, self.reporter.stop_after = self.loop, stop_after

    def _judge(self) -> Figures:
        merit = 0.5 + 0.123456789 * (-1) ** (self.trainer.step_count // 3)
        return Figures(merit, merit, merit, {})

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights, statistics and counters, live and averaged, the optimiser's and the best."""
        assert self.loop.best is not None
        return flat({"trainer": self.trainer.state(), "best": best_weights(self.loop.best)})


def best_weights(best: Best) -> dict[str, Any]:
    return {"step": best.step, "unet": best.unet, "segmentation": best.segmentation}


def flat(state: Any, name: str = "") -> dict[str, torch.Tensor]:
    """All numbers and tensors of a nested state, by their path."""
    if isinstance(state, dict):
        items = [(str(key), value) for key, value in state.items()]
    elif isinstance(state, list | tuple):
        items = [(str(i), value) for i, value in enumerate(state)]
    else:
        return (
            {name: torch.as_tensor(state)} if isinstance(state, torch.Tensor | int | float) else {}
        )
    return {k: v for key, value in items for k, v in flat(value, f"{name}.{key}").items()}


@pytest.fixture(scope="module", autouse=True)
def _small(tiny: ModelProfile) -> Iterator[None]:
    """The tiny profile, and everything that happens after many steps after a few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROFILES, "tiny", tiny)
        patch.setattr("training.loop.STEPS_BETWEEN", 3)
        yield


@pytest.fixture(scope="module")
def straight(normals: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The training that nobody stopped."""
    torch.set_num_threads(1)
    run = Run(normals, tmp_path_factory.mktemp("straight"))
    assert run.loop.run()
    assert [run.reporter.phases.count(phase) for phase in Phase] == [4, 4, 12]
    return run


@pytest.mark.parametrize(
    "stops",
    [
        pytest.param((2,), id="the U-Net alone"),
        pytest.param((4,), id="before both learn"),
        pytest.param((6,), id="both"),
        pytest.param((8,), id="before the segmentation network is alone"),
        pytest.param((9,), id="pool half full"),
        pytest.param((12,), id="pool full"),
        pytest.param((17,), id="pool renewed several times"),
        pytest.param((3, 7, 10, 14), id="again and again"),
    ],
)
def test_a_resumed_training_ends_with_the_same_weights(
    straight: Run, normals: np.ndarray, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    for i, stop in enumerate((*stops, 0)):
        run = Run(normals, tmp_path, stop)
        if i > 0:
            run.loop.resume()
        assert run.loop.run() is (stop == 0)

    expected, found = straight.tensors(), run.tensors()
    assert len(run.reporter.phases) == STEPS - stops[-1]
    assert found.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(found[name], expected[name])]
    assert different == []


def test_the_comparison_notices_another_training(
    straight: Run, normals: np.ndarray, tmp_path: Path
) -> None:
    other = Run(normals[::-1], tmp_path)
    other.loop.run()

    pairs = zip(straight.tensors().values(), other.tensors().values(), strict=True)
    assert sum(not torch.equal(*pair) for pair in pairs) > 100
