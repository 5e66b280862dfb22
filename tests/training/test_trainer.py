from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import TrainingError
from training.augment import ViewSource
from training.report import Phase
from training.settings import TrainingSettings
from training.synthesis import Batch, Synthesizer
from training.trainer import Trainer


def trainer_of(normals: np.ndarray, profile: str, **changes: object) -> Trainer:
    plain = {"profile": profile, "steps": 20, "crop_px": 32, "device": "cpu", "warm_up_steps": 2}
    settings = TrainingSettings.model_validate(plain | changes)
    source = ViewSource(normals, settings)
    return Trainer(source, Synthesizer(), settings, normals.shape[3], torch.device("cpu"))


def weights(trainer: Trainer) -> torch.Tensor:
    networks = (trainer.unet, trainer.segmentation, *trainer.averaged())
    return torch.cat([p.detach().flatten() for n in networks for p in n.parameters()])


def test_a_short_training_lowers_both_losses(normals: np.ndarray, tiny_profile: str) -> None:
    trainer = trainer_of(
        normals,
        tiny_profile,
        learning_rate=3e-3,
        whole_share=0.0,
        reconstruction_share=0.0,
        joint_share=1.0,
    )

    reports = [trainer.step(i / 100) for i in range(100)]

    def mean(reports: list, name: str) -> float:  # type: ignore[type-arg]
        return float(np.mean([getattr(report, name) for report in reports]))

    assert mean(reports[-10:], "mask_loss") < 0.85 * mean(reports[:10], "mask_loss")
    assert mean(reports[-10:], "noise_loss") < 0.9 * mean(reports[:5], "noise_loss")
    assert trainer.step_count == 100


def test_colour_images_train_too(normals: np.ndarray, tiny_profile: str) -> None:
    trainer = trainer_of(np.repeat(normals, 3, axis=3), tiny_profile)

    report = trainer.step(0.0)

    assert report.noise_loss is not None
    assert np.isfinite(report.noise_loss)


def test_the_seed_decides_the_training(normals: np.ndarray, tiny_profile: str) -> None:
    runs = [trainer_of(normals, tiny_profile, seed=seed) for seed in (1, 1, 2)]
    for trainer in runs:
        trainer.step(0.0)

    assert torch.equal(weights(runs[0]), weights(runs[1]))
    assert not torch.equal(weights(runs[0]), weights(runs[2]))


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(
    normals: np.ndarray, tiny_profile: str
) -> None:
    trainer = trainer_of(normals, tiny_profile)
    trainer.step(0.0)
    with torch.no_grad():
        trainer.segmentation.head.bias.fill_(float("nan"))
    before = weights(trainer).nan_to_num()

    with pytest.raises(
        TrainingError, match=r"step 2 .*mask loss.*mask loss nan.*learning rate.*without --resume"
    ):
        trainer.step(0.5)

    assert torch.equal(weights(trainer).nan_to_num(), before)
    assert trainer.step_count == 1


def test_the_learning_rate_warms_up_and_falls_to_a_tenth(
    normals: np.ndarray, tiny_profile: str
) -> None:
    trainer = trainer_of(
        normals,
        tiny_profile,
        learning_rate=1e-3,
        segmentation_rate=4e-3,
        warm_up_steps=4,
        joint_share=0.5,
        pool_images=4,
    )

    rates = [trainer.step(progress).learning_rate for progress in (0, 0, 0, 0, 0.5, 0.75, 1.0)]

    assert rates[:4] == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3])
    # The segmentation network begins anew, at the rates of its own.
    assert rates[4:] == pytest.approx([0.25 * 4e-3, 0.5 * 2.2e-3, 0.75 * 4e-4])


class Counting(Synthesizer):
    """A synthesizer that notes how many samples of each batch it painted."""

    def __init__(self) -> None:
        super().__init__()
        self.painted: list[int] = []

    def batch(self, *arguments: Any, **options: Any) -> Batch:
        batch = super().batch(*arguments, **options)
        self.painted.append(int(batch.labels.sum()))
        return batch


@pytest.mark.parametrize(("restoration", "painted"), [(False, [0, 2]), (True, [2, 2])])
def test_the_unet_learns_alone_from_normal_samples_unless_it_is_to_restore(
    normals: np.ndarray, tiny_profile: str, restoration: bool, painted: list[int]
) -> None:
    plain = {"profile": tiny_profile, "steps": 20, "crop_px": 32, "device": "cpu"}
    shares = {"whole_share": 0.0, "reconstruction_share": 0.3, "joint_share": 0.9}
    settings = TrainingSettings.model_validate({**plain, **shares, "restoration": restoration})
    synthesizer = Counting()
    trainer = Trainer(ViewSource(normals, settings), synthesizer, settings, 1, torch.device("cpu"))

    reports = [trainer.step(progress) for progress in (0.1, 0.5)]

    assert synthesizer.painted == painted
    assert reports[0].mask_loss is None
    assert reports[0].noise_loss is not None
    assert reports[1].mask_loss is not None


def test_the_last_part_of_the_budget_leaves_the_unet_alone(
    normals: np.ndarray, tiny_profile: str
) -> None:
    trainer = trainer_of(normals, tiny_profile, joint_share=0.5, pool_images=8)
    trainer.step(0.4)
    unet = [parameter.detach().clone() for parameter in trainer.unet.parameters()]
    segmentation = [parameter.detach().clone() for parameter in trainer.segmentation.parameters()]

    report = trainer.step(0.6)

    assert report.step == 2
    assert all(map(torch.equal, unet, trainer.unet.parameters()))
    assert not all(map(torch.equal, segmentation, trainer.segmentation.parameters()))


def test_the_order_of_images_teaches_the_segmentation_network_too(
    normals: np.ndarray, tiny_profile: str
) -> None:
    plain, ranked = (
        trainer_of(normals, tiny_profile, joint_share=0.0, reconstruction_share=0.0, **order)
        for order in ({"pool_ranking": 0.0}, {"pool_ranking": 0.5})
    )

    losses = [trainer.step(0.0).mask_loss for trainer in (plain, ranked)]

    assert losses[0] == losses[1]  # (10) alone is what is reported
    weights_of = [
        torch.cat([p.detach().flatten() for p in trainer.segmentation.parameters()])
        for trainer in (plain, ranked)
    ]
    assert not torch.equal(*weights_of)


def test_the_unet_is_not_thrown_off_when_the_segmentation_network_joins(
    normals: np.ndarray, tiny_profile: str
) -> None:
    trainer = trainer_of(
        normals, tiny_profile, reconstruction_share=0.5, joint_share=1.0, learning_rate=1e-3
    )
    for _ in range(10):
        trainer.step(0.1)
    before = torch.cat([p.detach().flatten().clone() for p in trainer.unet.parameters()])

    rate = trainer.step(0.5).learning_rate
    after = torch.cat([p.detach().flatten() for p in trainer.unet.parameters()])

    assert rate == pytest.approx(0.5 * 0.55e-3)  # warms up again
    assert 0.1 * rate < (after - before).abs().max() < 1.1 * rate


def test_a_constant_rate_stays_at_its_peak(normals: np.ndarray, tiny_profile: str) -> None:
    trainer = trainer_of(normals, tiny_profile, rate_schedule="constant", joint_share=1.0)

    rates = [trainer.step(progress).learning_rate for progress in (0.0, 0.1, 0.3)]

    assert rates == pytest.approx([1e-3, 2e-3, 2e-3])


@pytest.mark.parametrize("progress", [0.1, 0.5, 0.9])
def test_a_step_touches_no_generator_but_its_own(
    normals: np.ndarray, tiny_profile: str, progress: float
) -> None:
    trainer = trainer_of(normals, tiny_profile, reconstruction_share=0.3, joint_share=0.7)
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()

    trainer.step(progress)

    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


class Ticks:
    """A clock that goes on by a second with each reading."""

    now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


@pytest.mark.parametrize(("progress", "phase"), list(zip((0.1, 0.5, 0.9), Phase, strict=True)))
def test_a_step_reports_its_phase_and_the_time_it_waited_for_images(
    normals: np.ndarray, tiny_profile: str, progress: float, phase: Phase
) -> None:
    settings = TrainingSettings(
        profile=tiny_profile, steps=9, crop_px=32, reconstruction_share=0.3, joint_share=0.7
    )
    source, device = ViewSource(normals, settings), torch.device("cpu")
    trainer = Trainer(source, Synthesizer(), settings, 1, device, clock=Ticks())

    report = trainer.step(progress)

    assert report.phase is phase
    assert report.painting_s == 1.0  # one batch, between two readings
    assert report.step_s == 3.0


def test_gradients_are_clipped_only_if_the_settings_say_so(
    normals: np.ndarray, tiny_profile: str
) -> None:
    norms = {}
    for limit in (None, 1e-3):
        trainer = trainer_of(normals, tiny_profile, clip_norm=limit)
        reported = trainer.step(0.0).gradient_norm
        gradients = [p.grad for p in trainer.unet.parameters() if p.grad is not None]
        norms[limit] = (reported, float(torch.stack([g.norm() for g in gradients]).norm()))

    assert norms[None][0] == pytest.approx(norms[None][1], rel=1e-4)
    assert norms[1e-3][0] == pytest.approx(norms[None][0], rel=1e-4)
    assert norms[1e-3][1] == pytest.approx(1e-3, rel=1e-2)
