"""The training loop: steps until the budget is spent, with checkpoints, validation and a way out.

Clock and reporting are handed in; SIGINT ends the loop after the step in hand. Of several processes
all run the loop; what they do next they decide by what all of them know, and only the first
validates, reports and writes.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from pipeline.errors import InputError
from training.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint, set_aside
from training.distributed import ALONE, World
from training.identity import Identity, differences, in_words
from training.report import StepReport
from training.settings import TrainingSettings
from training.trainer import Trainer
from training.validation import Figures

PAUSE_RATIO = 10.0
"""Between two validations lies at least this many times the time that one takes."""
VALIDATIONS, STEPS_BETWEEN = 10, 400
"""With a budget of steps the clock decides nothing that ends up in the weights: there are at most
so many validations, and at least so many steps between two."""


class Reporter(Protocol):
    """Whoever shows or records how the training goes."""

    def stepped(self, report: StepReport, progress: float, elapsed_s: float) -> None:
        """After each step."""
        ...

    def validated(self, step: int, figures: Figures, best: bool) -> None:
        """After each validation."""
        ...

    def saved(self, step: int, size_bytes: int) -> None:
        """After each checkpoint."""
        ...


@dataclass(frozen=True)
class Best:
    """The averaged weights that validated best: state dictionaries, figures, and their step."""

    step: int
    figures: Figures
    unet: dict[str, Tensor]
    segmentation: dict[str, Tensor]


@dataclass(frozen=True)
class Surroundings:
    """What a loop is given: its checkpoint's folder, a judge, a reporter, a clock in seconds.

    `identity` says what is trained on what and how; a checkpoint of anything else is refused.
    """

    folder: Path
    identity: Identity
    validate: Callable[[], Figures]
    reporter: Reporter
    clock: Callable[[], float]
    world: World = ALONE


class Loop:
    """Runs a trainer within the budget of its settings; `best` holds the weights to ship."""

    def __init__(
        self,
        trainer: Trainer,
        settings: TrainingSettings,
        surroundings: Surroundings,
    ) -> None:
        self.best: Best | None = None
        self.elapsed_s = 0.0
        self._trainer, self._settings = trainer, settings
        self._reporter, self._clock = surroundings.reporter, surroundings.clock
        self._validate, self._identity = surroundings.validate, surroundings.identity
        self._world = surroundings.world
        self._checkpoint = surroundings.folder / CHECKPOINT_FILE
        self._stop = threading.Event()
        self._began_s = 0.0
        self._checkpointed_s = self._validated_s = self._validation_s = 0.0
        self._validated_step = 0
        self._saved: tuple[int, int] | None = None

    @property
    def progress(self) -> float:
        """The share of the budget that is spent, 0 to 1."""
        settings = self._settings
        if settings.steps is not None:
            return min(1.0, self._trainer.step_count / settings.steps)
        assert settings.minutes is not None
        return min(1.0, self.elapsed_s / (60.0 * settings.minutes))

    def begin(self) -> None:
        """Set aside the checkpoint of a training before this one: none may resume from it that was
        ended before a checkpoint of its own.
        """
        self._world.of_first(lambda: set_aside(self._checkpoint))

    def resume(self) -> None:
        """Go on from the last checkpoint; InputError if it is missing, damaged or another's."""
        state = self._world.of_first(lambda: load_checkpoint(self._checkpoint))
        made_for: Identity = state["identity"]
        if names := differences(made_for, self._identity):
            raise InputError(
                f"{self._checkpoint} belongs to another training: {in_words(made_for, names)}; "
                f"this one has: {in_words(self._identity, names)}. Give the same options and "
                "images, or leave out --resume"
            )
        self._trainer.restore(state["trainer"])
        self.elapsed_s = self._checkpointed_s = self._validated_s = float(state["elapsed_s"])
        self._validated_step = int(state["validated_step"])
        self.best = _best_from(state["best"])
        self._saved = self._position()

    def stop(self) -> None:
        """End after the step in hand; may be called from a signal handler or another thread."""
        self._stop.set()

    def run(self) -> bool:
        """True when the budget is spent, False when stopped before; a checkpoint is there then.

        An interrupt of the last validation is not caught: the checkpoint before it has all steps.
        """
        self._began_s = self._clock() - self.elapsed_s
        with _stopping_on_interrupt(self.stop):
            while self._goes_on():
                self._keep_up()
                report = self._trainer.step(self.progress)
                if self._world.first:
                    elapsed_s = self._clock() - self._began_s
                    self._reporter.stepped(report, self.progress, elapsed_s)
            self._save_what_is_new()
        finished = self.progress >= 1.0
        if finished:
            self._validate_now()
            self._save_what_is_new()
        return finished

    def _goes_on(self) -> bool:
        """Whether there is budget left and nobody wants to stop; all processes answer alike."""
        elapsed_s = self._clock() - self._began_s
        self.elapsed_s, stopped = self._world.largest(elapsed_s, self._stop.is_set())
        return self.progress < 1.0 and not stopped

    def _keep_up(self) -> None:
        """What is due before the next step; a resumed training does it where this one would."""
        if self._validation_is_due():
            self._validated_s, started_s = self.elapsed_s, self._clock()
            self._validate_now()
            (self._validation_s,) = self._world.largest(self._clock() - started_s)
        if self.elapsed_s - self._checkpointed_s >= 60.0 * self._settings.checkpoint_minutes:
            self._save()
            self._checkpointed_s = self.elapsed_s

    def _validation_is_due(self) -> bool:
        settings, step = self._settings, self._trainer.step_count
        if settings.steps is not None:
            between = max(math.ceil(settings.steps / VALIDATIONS), STEPS_BETWEEN)
            return step > 0 and step % between == 0
        pause_s = max(60.0 * settings.validation_minutes, PAUSE_RATIO * self._validation_s)
        return self.elapsed_s - self._validated_s >= pause_s

    def _validate_now(self) -> None:
        step = self._trainer.step_count
        if step == self._validated_step and self.best is not None:
            return
        self._trainer.check_weights()
        figures = self._world.of_first(self._validate)
        better = self.best is None or figures.merit >= self.best.figures.merit
        if better:
            unet, segmentation = self._trainer.averaged()
            self.best = Best(step, figures, _copied(unet), _copied(segmentation))
        self._validated_step = step
        if self._world.first:
            self._reporter.validated(step, figures, better)

    def _position(self) -> tuple[int, int]:
        """What a checkpoint that lies on the disk is up to date with, or not."""
        return self._trainer.step_count, self._validated_step

    def _save_what_is_new(self) -> None:
        if self._position() != self._saved:
            self._save()

    def _save(self) -> None:
        self._trainer.check_weights()
        state = {
            "identity": dict(self._identity),
            "trainer": self._trainer.state(),
            "elapsed_s": self.elapsed_s,
            "validated_step": self._validated_step,
            "best": _best_state(self.best),
        }
        size = self._world.of_first(lambda: save_checkpoint(self._checkpoint, state))
        self._saved = self._position()
        if self._world.first:
            self._reporter.saved(self._trainer.step_count, size)


@contextmanager
def _stopping_on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Turn SIGINT into a call of `stop`, where this thread may do so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _copied(network: Any) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _best_state(best: Best | None) -> dict[str, Any] | None:
    if best is None:
        return None
    networks = {"unet": best.unet, "segmentation": best.segmentation}
    return {"step": best.step, "figures": asdict(best.figures), **networks}


def _best_from(state: dict[str, Any] | None) -> Best | None:
    if state is None:
        return None
    return Best(state["step"], Figures(**state["figures"]), state["unet"], state["segmentation"])
